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
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import KVCache
from safetensors import SafetensorError, safe_open

from mlxwire_protocol import invalid_params

from . import kv
from .prompt_cache import PromptCache

FORMAT = "mlxwire-prompt-cache-1"
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
        arrays[f"{number}.tokens"] = mx.array(entry.tokens, dtype=mx.int32)
        for place, layer in enumerate(entry.value):
            for name, value in _flat_state(layer):
                key = f"{number}.{place}.{name}"
                if isinstance(value, mx.array):
                    arrays[key] = value
                else:
                    scalars[key] = value
    metadata = {
        "format": FORMAT,
        "fingerprint": identity,
        "entries": str(len(entries)),
        "scalars": json.dumps(scalars),
    }
    _refuse_foreign(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial.safetensors")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mx.save_safetensors(str(partial), arrays or {"empty": mx.zeros(1)}, metadata)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise invalid_params("path", f"the cache can't be written: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return len(entries)


def load(path: Path, cache: PromptCache, policy: kv.CachePolicy, identity: str) -> int:
    """Read entries into the cache; returns how many it took.

    Raises: WireError ``invalid_params`` for ``path`` where the file is damaged or another
    model's.
    """
    metadata = _checked_metadata(path, identity)
    try:
        entries = _read_entries(path, metadata, policy)
    except Exception as error:  # a file's parts may fail to fit together in any way
        raise invalid_params(
            "path", f"the cache file is damaged ({type(error).__name__}: {error}); delete it"
        ) from None
    return sum(cache.store(tokens, layers) for tokens, layers in entries)


def _read_entries(
    path: Path, metadata: dict[str, str], policy: kv.CachePolicy
) -> list[tuple[list[int], kv.Layers]]:
    """All or nothing. Raises whatever a file leads to whose parts do not fit together."""
    arrays: Any = mx.load(str(path), format="safetensors")
    scalars = json.loads(metadata["scalars"])
    by_layer: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for key, value in [*arrays.items(), *scalars.items()]:
        if key.count(".") >= 2:
            number, place, name = key.split(".", 2)
            by_layer.setdefault((number, place), []).append((name, value))
    entries = []
    wanted = [_kind(layer) for layer in policy.example()]
    for number in range(int(metadata["entries"])):
        tokens = arrays[f"{number}.tokens"].tolist()
        layers = policy.make()
        for place, layer in enumerate(layers):
            _fill(layer, by_layer[str(number), str(place)])
            if _kind(layer) != wanted[place]:
                raise ValueError(f"a layer of entry {number} is not of this model's shape")
            if getattr(layer, "offset", len(tokens)) != len(tokens):
                raise ValueError(f"a layer of entry {number} is not as long as its tokens")
        mx.eval(kv.states(layers))
        entries.append((tokens, layers))
    return entries


def _refuse_foreign(path: Path) -> None:
    """A save may replace a cache that was saved before, and no other file."""
    if not path.exists():
        return
    _check_regular(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            ours = (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError):
        ours = False
    if not ours:
        raise invalid_params(
            "path", f"{str(path)!r} is there and is no prompt cache; name another file"
        )


def _check_regular(path: Path) -> None:
    """A pipe would be waited for, with the interpreter's lock held."""
    if path.exists() and not path.is_file():
        raise invalid_params("path", f"{str(path)!r} is no regular file; name another one")


def _checked_metadata(path: Path, identity: str) -> dict[str, str]:
    _check_regular(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise invalid_params("path", f"there is no file {str(path)!r}") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise invalid_params(
            "path", f"the file is no prompt cache, or a damaged one ({error}); save a new one"
        ) from None
    if metadata.get("format") != FORMAT:
        raise invalid_params("path", "this is no prompt cache that mlxwire saved")
    if metadata.get("fingerprint") != identity:
        raise invalid_params(
            "path",
            "this cache was saved with another model, adapter, template or KV setting; warm a "
            "new one",
            reason="fingerprint",
        )
    return metadata


def _flat_state(layer: Any) -> list[tuple[str, Any]]:
    state = layer.state
    if kv.is_exactly(layer, KVCache) and layer.keys is not None:
        keys, values = layer.keys_and_values()  # without the room for growth
        state = (mx.contiguous(keys), mx.contiguous(values), layer.offset)
    flat: Any = tree_flatten(state)
    return list(flat)


def _kind(layer: Any) -> list[tuple[str, Any]]:
    """Types and shapes of a layer's arrays, their lengths in tokens aside."""
    return [
        (name, (value.dtype, value.ndim, value.shape[:-2], value.shape[-1]))
        for name, value in _flat_state(layer)
        if isinstance(value, mx.array)
    ]


def _fill(layer: Any, flat: list[tuple[str, Any]]) -> None:
    layer.state = tree_unflatten(sorted(flat, key=lambda item: _order(item[0])))


def _order(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]
