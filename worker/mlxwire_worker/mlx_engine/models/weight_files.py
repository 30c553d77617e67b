"""Checks a model's safetensors files by their headers and their index, without reading tensors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mlxwire_protocol import WireError

from .model_files import failed, quoted, read_object, unsupported
from .safetensors_header import StoredTensor, read_header

MAX_TENSORS = 1 << 18
INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
_FURTHER_TOKENS = re.compile(r"(?:^|\.)mtp[._]")
OTHER_FORMS = (
    ((".bin", ".pth", ".pt"), "pickle files, which can run code when they are read"),
    ((".gguf",), "a GGUF file, which is llama.cpp's form"),
    ((".npz",), "an .npz file, which older versions of mlx-lm wrote"),
    (("consolidated.safetensors",), "in Mistral's own form, consolidated.safetensors"),
)
"""The endings of weights that are not read, and the words for their form."""


def find_shards(path: Path) -> tuple[Path, ...]:
    """Return a model folder's weight files, sorted by name.

    These are ``model*.safetensors`` and the files that the index names. Beside a checkpoint there
    may be a file with nothing but the layers of multi-token prediction, which mlx-lm never uses: it
    is left out if its name would lead one of mlx-lm and transformers to read it and not the other.

    Raises: WireError ``unsupported_model`` or ``model_load_failed``.
    """
    found = {file.name: file for file in path.glob("model*.safetensors")}
    named = _named_files(path)
    for name in named:
        if name not in found and _is_own_file(path, name):
            found[name] = path / name
    doubtful = [
        name for name in found if named and (name not in named or not name.startswith("model"))
    ]
    for name in doubtful:
        if _only_predicts_further_tokens(found[name]):
            del found[name]
    if found:
        return tuple(found[name] for name in sorted(found))
    raise _no_weights(path)


def _named_files(path: Path) -> frozenset[str]:
    """Return the names of files in the index; none if there is no index or it is damaged."""
    file = path / INDEX
    weight_map = read_object(file).get("weight_map") if file.exists() else None
    if not isinstance(weight_map, dict):
        return frozenset()
    return frozenset(name for name in weight_map.values() if isinstance(name, str))


def _is_own_file(path: Path, name: str) -> bool:
    """Return True if a name in the index is that of a file in the folder itself."""
    return (
        Path(name).name == name
        and name.endswith(".safetensors")
        and os.path.isfile(path / name)  # False for a name that no file can have
    )


def _only_predicts_further_tokens(shard: Path) -> bool:
    try:
        names = read_header(shard)
    except (OSError, ValueError):
        return False  # `check_shards` says what is wrong with the file
    return bool(names) and all(_FURTHER_TOKENS.search(name) for name in names)


def _no_weights(path: Path) -> WireError:
    names = [file.name for file in path.iterdir()]
    for endings, form in OTHER_FORMS:
        if any(name.endswith(endings) for name in names):
            return unsupported(
                "pickle_weights" if "pickle" in form else "weight_format",
                f"the weights are {form}; download the model as model*.safetensors, or write it so with "
                "the program that made it (transformers: `save_pretrained`)",
            )
    return failed("no_weights", "the folder has no model*.safetensors; download the weights")


def check_shards(shards: Iterable[Path]) -> dict[str, StoredTensor]:
    """Check each file's header and return the tensors of all files by name.

    Raises: WireError ``model_load_failed``.
    """
    tensors: dict[str, StoredTensor] = {}
    holders: dict[str, str] = {}
    for shard in shards:
        try:
            found = read_header(shard)
            if len(tensors) + len(found) > MAX_TENSORS:
                raise ValueError(f"the weights have more than {MAX_TENSORS} tensors")
        except (OSError, ValueError) as error:
            raise failed(
                "damaged_shard",
                f"{shard.name} {damage(shard, error)}; download it again",
                file=shard.name,
            ) from None
        if twice := tensors.keys() & found.keys():
            name = min(twice)
            raise failed(
                "foreign_shard",
                f"{shard.name} and {holders[name]} both hold the tensor {quoted(name)!r}; "
                "remove the one that is a copy or of another model",
                file=shard.name,
            )
        tensors.update(found)
        holders.update(dict.fromkeys(found, shard.name))
    return tensors


def damage(shard: Path, error: Exception) -> str:
    """Say what is wrong with a weight file: a sentence's verb and object."""
    if isinstance(error, OSError):
        if not shard.exists():
            return "is a link to a file that is not there"
        return f"can't be read ({error.strerror})"
    with shard.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
    if not start:
        return "is empty"
    if start == _LFS_POINTER:
        return "is a pointer of Git LFS in place of the weights (`git lfs pull` fetches them)"
    return f"is truncated or damaged ({quoted(error)})"


def check_index(path: Path, shards: tuple[Path, ...], tensors: dict[str, StoredTensor]) -> None:
    """Compare the index, if there is one, with the files and tensors that are present.

    Raises: WireError ``model_load_failed``.
    """
    file = path / INDEX
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
    unread = {name for name in named - present if _is_own_file(path, name)}
    if missing := sorted(named - present - unread):
        raise failed(
            "missing_shard",
            f"{quoted(', '.join(missing[:3]))} is missing, but {file.name} names it; download it",
            file=quoted(missing[0]),
        )
    if stale := sorted(present - named):
        raise failed(
            "foreign_shard",
            f"{', '.join(stale[:3])} is not named by {file.name}, and mlx-lm would mix it into the "
            "model; remove the file",
            file=stale[0],
        )
    if absent := [
        name for name, held in weight_map.items() if name not in tensors and held not in unread
    ]:
        raise failed(
            "missing_tensor",
            f"{len(absent)} tensors that {file.name} names are in no file ({quoted(absent[0])} is "
            "the first); download the weights again",
            file=file.name,
        )
