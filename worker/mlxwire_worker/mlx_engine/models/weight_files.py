"""Checks a model's safetensors files by their headers and their index, without reading tensors."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mlxwire_protocol import WireError

from .model_files import IS_LFS_POINTER, LFS_POINTER, failed, quoted, read_object, unsupported
from .safetensors_header import NOT_OF_MLX, StoredTensor, read_header

MAX_TENSORS = 1 << 18
INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
"""A file that is one of several, by its name."""
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".tmp")
"""The endings that programs give to files while they download them."""
_FURTHER_TOKENS = re.compile(r"(?:^|\.)mtp[._]")
OTHER_FORMS = (
    (("openvino_model.bin",), "in OpenVINO's form"),
    ((".bin", ".pth", ".pt"), "pickle files, which can run code when they are read"),
    ((".gguf",), "a GGUF file, which is llama.cpp's form"),
    ((".npz",), "an .npz file, which older versions of mlx-lm wrote"),
    ((".onnx",), "an ONNX file"),
    ((".h5", ".msgpack"), "in a form of TensorFlow or Flax"),
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
    detail = "download the weights"
    if unfinished := sorted(n for n in names if n.endswith(_UNFINISHED) and "safetensors" in n):
        detail = (
            f"{quoted(unfinished[0])} is an unfinished download. Download the weights again"
        )
    elif others := sorted(n for n in names if n.endswith(".safetensors") and n[0] != "."):
        detail = (
            f"mlx-lm does not read {quoted(others[0])}. If these are the model's weights, name the "
            "file model.safetensors"
        )
    return failed("no_weights", f"the folder has no model*.safetensors; {detail}")


def check_shards(shards: tuple[Path, ...]) -> dict[str, StoredTensor]:
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
        _refuse_dtypes(shard, found)
        tensors.update(found)
        holders.update(dict.fromkeys(found, shard.name))
    if not tensors:
        empty = ", ".join(shard.name for shard in shards[:3])
        raise failed(
            "no_weights", f"{quoted(empty)} holds no tensor; download the weights again"
        )
    return tensors


def _refuse_dtypes(shard: Path, tensors: dict[str, StoredTensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype in NOT_OF_MLX:
            raise unsupported(
                "weight_format",
                f"{shard.name} has the tensor {quoted(name)!r} of the dtype {tensor.dtype}, which MLX "
                "can't read; write the model in bfloat16, float16 or float32 with the program that "
                "made it",
                file=shard.name,
            )


def damage(shard: Path, error: Exception) -> str:
    """Say what is wrong with a weight file: a sentence's verb and object."""
    if isinstance(error, OSError):
        if not shard.exists():
            return "is a link to a file that is not there"
        return f"can't be read ({error.strerror})"
    with shard.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if not start:
        return "is empty"
    if start == LFS_POINTER:
        return IS_LFS_POINTER.format("weights", "them")
    if start.isascii() and start.decode().replace("\n", " ").isprintable():
        # The first bytes of weights are a number; a server's answer is a page or a sentence.
        return "is a text in place of the weights, such as the page of a website"
    return f"is truncated or damaged ({quoted(error)})"


def check_index(path: Path, shards: tuple[Path, ...], tensors: dict[str, StoredTensor]) -> None:
    """Compare the index, if there is one, with the files and tensors that are present.

    Raises: WireError ``model_load_failed``.
    """
    file = path / INDEX
    if not file.exists():
        _check_numbered(shards)
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
    for name in sorted(named - present - unread):
        if Path(name).name == name and os.path.isfile(path / name):
            raise failed(
                "invalid_index",
                f"{file.name} names {quoted(name)}, which is no safetensors file; copy the index "
                "again from the model's source",
                file=file.name,
            )
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


def _check_numbered(shards: tuple[Path, ...]) -> None:
    """Refuse files that by their names are some of several, without an index that tells so."""
    numbered = [found for shard in shards if (found := _NUMBERED.fullmatch(shard.name))]
    present = {shard.name for shard in shards}
    for begin, total in dict.fromkeys((found[1], found[3]) for found in numbered):
        count = sum((found[1], found[3]) == (begin, total) for found in numbered)
        if count < int(total):
            names = (f"{begin}-{i:05}-of-{total}.safetensors" for i in range(1, int(total) + 1))
            missing = next(name for name in names if name not in present)
            raise failed(
                "missing_shard",
                f"{quoted(missing)} is missing, of {int(total)} files of weights {count} are there; "
                "download it",
                file=quoted(missing),
            )
