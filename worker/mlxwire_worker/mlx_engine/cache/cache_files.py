"""The prompt cache on disk: safetensors, written whole or not at all, read for this model alone.

mlx-lm's own files name the classes to make and no model; here the model makes its caches and
the file fills them, once its fingerprint says that it is of this model.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxwire_protocol import WireError, invalid_params

from . import kv, layer_state, sealed_file
from .prompt_cache import PromptCache
from .sealed_file import SealedReader, Tensor

_FORMATS = "mlxwire-prompt-cache-"
FORMAT = f"{_FORMATS}2"
_TOKENS = "tokens"
_SAMPLES, _SAMPLE_BYTES = 1024, 1 << 12


def fingerprint(files: list[Path], *parts: str | None) -> str:
    """What must be the same for a cache to mean the same: weights, adapter, KV kind, template.

    Of a large file its size and samples from all over are read, not its gigabytes: weights that
    were trained further differ in whole tensors, and those may lie anywhere.
    """
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        stride = max(size // _SAMPLES, _SAMPLE_BYTES)
        with file.open("rb") as stream:
            for start in range(0, size, stride):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    for part in parts:
        digest.update(b"\0" + (part or "").encode())
    return digest.hexdigest()


def save(path: Path, cache: PromptCache, identity: str) -> int:
    """Write all entries, least recently used first; returns their number.

    Raises: WireError ``invalid_params`` for ``path``.
    """
    arrays: dict[str, mx.array] = {}
    scalars: dict[str, Any] = {}
    entries = list(cache.tree)
    for number, entry in enumerate(entries):
        arrays[f"{number}.{_TOKENS}"] = mx.array(entry.tokens, dtype=mx.int32)
        for place, layer in enumerate(entry.value):
            for name, value in layer_state.flatten(layer).items():
                kind = arrays if isinstance(value, mx.array) else scalars
                kind[f"{number}.{place}.{name}"] = value
    metadata = {"format": FORMAT, "fingerprint": identity, "scalars": json.dumps(scalars)}
    _refuse_foreign(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial.safetensors")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            sealed_file.write(file, arrays, metadata)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise invalid_params("path", f"the cache can't be written: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return len(entries)


def load(
    path: Path, cache: PromptCache, policy: kv.CachePolicy, identity: str, vocabulary: int
) -> int:
    """Read entries into the cache, all or nothing; returns how many it took.

    Raises: WireError ``invalid_params`` for ``path`` where the file is damaged or another
    model's.
    """
    _check_regular(path)
    try:
        with path.open("rb") as file:
            sealed = SealedReader(file)
            _check_identity(sealed.metadata, identity)
            entries = _read_entries(sealed, policy, vocabulary, cache.tree.budget)
    except (WireError, MemoryError):
        raise
    except FileNotFoundError:
        raise invalid_params("path", f"there is no file {str(path)!r}") from None
    except Exception as error:  # a file's parts may fail to fit together in any way
        raise invalid_params(
            "path",
            f"the file is no prompt cache, or a damaged one ({type(error).__name__}: "
            f"{str(error)[:200]}); save a new one",
        ) from None
    return sum(cache.store(tokens, layers) for tokens, layers in entries)


def _read_entries(
    sealed: SealedReader, policy: kv.CachePolicy, vocabulary: int, budget: int
) -> list[tuple[list[int], kv.Layers]]:
    """The last of the entries, as many as the budget has room for.

    All are checked by the header before anything is read. Raises whatever a file leads to
    whose parts do not fit together.
    """
    tensors = sealed.tensors()
    parts = _by_layer(tensors, json.loads(sealed.metadata["scalars"]))
    count = sum(place == _TOKENS for _, place in parts)
    example = policy.example()
    places = [_TOKENS, *map(str, range(len(example)))]
    if parts.keys() != {(str(number), place) for number in range(count) for place in places}:
        raise ValueError("it has other layers than the model")
    taken = []
    for number in reversed(range(count)):
        tokens = tensors[f"{number}.{_TOKENS}"]
        if tokens.dtype != mx.int32 or len(tokens.shape) != 1:
            raise ValueError("the tokens are no list of ids")
        layers = policy.make()
        for place, (layer, like) in enumerate(zip(layers, example, strict=True)):
            layer_state.refuse_misfit(
                layer, parts[str(number), str(place)], like, tokens.shape[0]
            )
        budget -= kv.nbytes(layers)
        if budget >= 0:
            taken.append(str(number))
    read = sealed.read(lambda name: name.partition(".")[0] in taken)
    return [_entry(number, parts, read, policy, vocabulary) for number in reversed(taken)]


def _by_layer(
    tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """What belongs to each layer of each entry; arrays are lazy, and nothing is computed."""
    zeros = {name: mx.zeros(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if zeros.keys() & scalars.keys():
        raise ValueError("a name stands for an array and for a number")
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in [*zeros.items(), *scalars.items()]:
        number, place, name = (*key.split(".", 2), "")[:3]
        parts.setdefault((number, place), {})[name] = value
    return parts


def _entry(
    number: str,
    parts: dict[tuple[str, str], dict[str, Any]],
    read: dict[str, mx.array],
    policy: kv.CachePolicy,
    vocabulary: int,
) -> tuple[list[int], kv.Layers]:
    tokens: Any = read[f"{number}.{_TOKENS}"].tolist()
    if not 0 <= min(tokens) <= max(tokens) < vocabulary:
        raise ValueError("a token is not of the model's vocabulary")
    layers = policy.make()
    for place, layer in enumerate(layers):
        state = parts[number, str(place)]
        layer_state.fill(
            layer, {name: read.get(f"{number}.{place}.{name}", state[name]) for name in state}
        )
    mx.eval(kv.states(layers))
    return tokens, layers


def _refuse_foreign(path: Path) -> None:
    """A save may replace a cache that was saved before, and no other file."""
    if not path.exists():
        return
    _check_regular(path)
    try:
        with path.open("rb") as file:
            ours = SealedReader(file).metadata.get("format", "").startswith(_FORMATS)
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise invalid_params(
            "path", f"{str(path)!r} is there and is no prompt cache; name another file"
        )


def _check_regular(path: Path) -> None:
    """A pipe would be waited for, with the interpreter's lock held."""
    if path.exists() and not path.is_file():
        raise invalid_params("path", f"{str(path)!r} is no regular file; name another one")


def _check_identity(metadata: dict[str, str], identity: str) -> None:
    told = metadata.get("format", "")
    if told != FORMAT:
        whose = "an older or newer mlxwire" if told.startswith(_FORMATS) else "something else"
        raise invalid_params(
            "path", f"this file was saved by {whose}, in another format; save a new cache"
        )
    if metadata.get("fingerprint") != identity:
        raise invalid_params(
            "path",
            "this cache was saved with another model, adapter, template or KV setting; warm a "
            "new one",
            reason="fingerprint",
        )
