"""A model's safetensors files by their headers and their index; no tensor is read."""

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
"""A hundred thousand tensors of about ten each, where the files of the largest models have some
thousand: more would be parsed for seconds, in part with the interpreter's lock held."""
MAX_TENSORS = 1 << 18


def find_shards(path: Path) -> tuple[Path, ...]:
    """The weight files. Raises: WireError ``unsupported_model``, ``model_load_failed``."""
    shards = tuple(sorted(path.glob("model*.safetensors")))
    if shards:
        return shards
    if any(path.glob("*.bin")) or any(path.glob("*.pth")):
        raise WireError(
            "unsupported_model",
            "the weights are in pickle files, which can run code when read; convert the model "
            "to safetensors (`mlx_lm.convert`)",
            data={"reason": "pickle_weights"},
        )
    raise failed("no_weights", "the folder has no model*.safetensors; download the weights")


def check_shards(shards: Iterable[Path]) -> dict[str, str]:
    """Every header by the safetensors library: sizes, offsets, overlaps. Returns the dtypes.

    Raises: WireError ``model_load_failed``.
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
                            f"{shard.name} holds {name!r}, which another file holds too; remove "
                            "the file that is not of this model",
                            file=shard.name,
                        )
                    tensors[name] = file.get_slice(name).get_dtype()
            if len(tensors) > MAX_TENSORS:
                raise ValueError(f"with it there are more than {MAX_TENSORS} tensors")
        except (SafetensorError, OSError, ValueError) as error:
            raise failed(
                "damaged_shard",
                f"{shard.name} is truncated or damaged ({quoted(error)}); download it anew",
                file=shard.name,
            ) from None
    return tensors


def refuse_repeated_names(file: Path) -> None:
    """Of a name that stands twice in a header readers may take either, and check the other.

    Raises: ValueError, also where the header is none.
    """
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {size} bytes")
        header = opened.read(size)
    if sum(map(header.count, (b"{", b"[", b","))) > MAX_HEADER_PARTS:
        raise ValueError("its header names too many tensors")
    try:
        json.loads(header, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`. Raises: ValueError."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return fields


def check_index(path: Path, shards: tuple[Path, ...], tensors: dict[str, str]) -> None:
    """Hold the index against what is there. Raises: WireError ``model_load_failed``."""
    file = path / "model.safetensors.index.json"
    if not file.exists():
        return
    weight_map = read_object(file).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(v, str) for v in weight_map.values()
    ):
        raise failed(
            "invalid_index",
            f"{file.name} has no `weight_map`; copy it anew from the model's source",
            file=file.name,
        )
    named = set(weight_map.values())
    present = {shard.name for shard in shards}
    if missing := sorted(named - present):
        raise failed(
            "missing_shard",
            f"{quoted(', '.join(missing[:3]))} is missing, which {file.name} names; download it",
            file=missing[0],
        )
    if stale := sorted(present - named):
        raise failed(
            "foreign_shard",
            f"{', '.join(stale[:3])} is not named by {file.name} and would be mixed into the "
            "model; remove it",
            file=stale[0],
        )
    if absent := [name for name in weight_map if name not in tensors]:
        raise failed(
            "missing_tensor",
            f"{len(absent)} tensors that {file.name} names are in no file ({quoted(absent[0])} first); "
            "download the weights anew",
            file=file.name,
        )
