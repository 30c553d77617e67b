"""Checks a model's safetensors files by their headers and their index, without reading tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mlxwire_protocol import WireError

from .model_files import failed, quoted, read_object

MAX_HEADER_BYTES = 32 << 20
MAX_HEADER_PARTS = 1 << 20
"""The most objects, lists and commas in a header: about ten per tensor, a hundred thousand tensors.

The files of the largest models have some thousand tensors. Parsing more would take seconds, in
part with the interpreter's lock held.
"""
MAX_TENSORS = 1 << 18


def find_shards(path: Path) -> tuple[Path, ...]:
    """Return a model folder's weight files, sorted by name.

    Raises: WireError ``unsupported_model`` or ``model_load_failed``.
    """
    shards = tuple(sorted(path.glob("model*.safetensors")))
    if shards:
        return shards
    if any(path.glob("*.bin")) or any(path.glob("*.pth")):
        raise WireError(
            "unsupported_model",
            "the weights are pickle files, which can run code when they are read; convert the "
            "model to safetensors with `mlx_lm.convert`",
            data={"reason": "pickle_weights"},
        )
    raise failed("no_weights", "the folder has no model*.safetensors; download the weights")


def check_shards(shards: Iterable[Path]) -> dict[str, str]:
    """Check each file's header with the safetensors library and return each tensor's dtype.

    The library checks sizes, offsets and overlaps. Raises: WireError ``model_load_failed``.
    """
    tensors: dict[str, str] = {}
    for shard in shards:
        try:
            refuse_repeated_names(shard)
            with safe_open(str(shard), framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    if name in tensors:
                        raise failed(
                            "foreign_shard",
                            f"{shard.name} holds the tensor {name!r}, which another file also "
                            "holds; remove the file that does not belong to this model",
                            file=shard.name,
                        )
                    tensors[name] = file.get_slice(name).get_dtype()
            if len(tensors) > MAX_TENSORS:
                raise ValueError(f"the weights have more than {MAX_TENSORS} tensors")
        except (SafetensorError, OSError, ValueError) as error:
            raise failed(
                "damaged_shard",
                f"{shard.name} is truncated or damaged ({quoted(error)}); download it again",
                file=shard.name,
            ) from None
    return tensors


def refuse_repeated_names(file: Path) -> None:
    """Refuse a safetensors file whose header has a name twice, is too large or is not JSON.

    Two readers may take different values for a repeated name, so a check of one says nothing about
    the other. Raises: ValueError.
    """
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(
                f"its header has {size} bytes; the largest accepted size is {MAX_HEADER_BYTES}"
            )
        header = opened.read(size)
    if sum(map(header.count, (b"{", b"[", b","))) > MAX_HEADER_PARTS:
        raise ValueError("its header names too many tensors")
    try:
        json.loads(header, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object's pairs, for `json.loads`.

    Raises: ValueError if a name occurs twice.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("its header has a name twice")
    return fields


def check_index(path: Path, shards: tuple[Path, ...], tensors: dict[str, str]) -> None:
    """Compare the index, if there is one, with the files and tensors that are present.

    Raises: WireError ``model_load_failed``.
    """
    file = path / "model.safetensors.index.json"
    if not file.exists():
        return
    weight_map = read_object(file).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(v, str) for v in weight_map.values()
    ):
        raise failed(
            "invalid_index",
            f"{file.name} has no `weight_map` of names to files; copy it again from the model's "
            "source",
            file=file.name,
        )
    named = set(weight_map.values())
    present = {shard.name for shard in shards}
    if missing := sorted(named - present):
        raise failed(
            "missing_shard",
            f"{quoted(', '.join(missing[:3]))} is missing, but {file.name} names it; download it",
            file=missing[0],
        )
    if stale := sorted(present - named):
        raise failed(
            "foreign_shard",
            f"{', '.join(stale[:3])} is not named by {file.name}, and mlx-lm would mix it into the "
            "model; remove the file",
            file=stale[0],
        )
    if absent := [name for name in weight_map if name not in tensors]:
        raise failed(
            "missing_tensor",
            f"{len(absent)} tensors that {file.name} names are in no file ({quoted(absent[0])} is "
            "the first); download the weights again",
            file=file.name,
        )
