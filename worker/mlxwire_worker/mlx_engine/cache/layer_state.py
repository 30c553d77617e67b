"""Converts one layer's cache to named arrays and scalars and back, for the loaded model only.

mlx-lm's caches accept any state. A state that the loaded model could not have made would raise in
a later step or produce wrong text, so `refuse_misfit` checks it first.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    KVCache,
    RotatingKVCache,
)

from .packed import PackedKVCache

_COUNTS = frozenset({"offset", "_idx", "start_position"})
"""The cache attributes that depend on the number of tokens; all others must equal the model's."""


def flatten(layer: Any) -> dict[str, Any]:
    """Return a layer's arrays and scalars by their paths in its state, such as ``0.1``."""
    flat: Any = tree_flatten(_state(layer))
    return dict(flat)


def _state(layer: Any) -> Any:
    """Return a layer's state without the unused ends of its buffers."""
    if type(layer) is PackedKVCache:
        return [_state(part) for part in layer.parts]
    state = layer.state
    if type(layer) is KVCache and layer.keys is not None and layer.values is not None:
        held = (layer.keys[..., : layer.offset, :], layer.values[..., : layer.offset, :])
        state = (*held, *state[2:])
    return state


def fill(layer: Any, state: dict[str, Any]) -> None:
    """Set an empty layer's state from what `flatten` returned for another layer."""
    flat = sorted(state.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    _set_state(layer, tree_unflatten(flat))


def _set_state(layer: Any, state: Any) -> None:
    if type(layer) is CacheList:  # whose own way creates classes by their names
        for child, (inner, _) in zip(layer.caches, state, strict=True):
            _set_state(child, inner)
    elif type(layer) is PackedKVCache:
        for part, inner in zip(layer.parts, state, strict=True):
            _set_state(part, inner)
    else:
        layer.state = state


def refuse_misfit(layer: Any, state: dict[str, Any], like: Any, length: int) -> None:
    """Fill a layer with a state, and refuse one that ``length`` tokens could not have made.

    ``like`` is the model's own cache for this layer after one token. Raises: ValueError.
    """
    fill_alike(layer, state, like)
    check_length(layer, like, length)


def fill_alike(layer: Any, state: dict[str, Any], like: Any) -> None:
    """Fill a layer with a state, and refuse one of another form than ``like``'s. Raises: ValueError."""
    wanted = flatten(like)
    if state.keys() != wanted.keys():
        raise ValueError("a layer has other arrays and numbers than the model's")
    for name, value in state.items():
        _check_part(value, wanted[name])
    fill(layer, state)


def _check_part(value: Any, wanted: Any) -> None:
    """Check that an array has the wanted dtype and shape, except for its length in tokens.

    Raises: ValueError.
    """
    if type(value) is not type(wanted):
        raise ValueError("a layer has a number where the model has an array, or the reverse")
    if not isinstance(value, mx.array):
        if not isinstance(value, int) and value != wanted:
            raise ValueError("a setting of a layer differs from the model's")
        return
    mine, theirs = list(value.shape), list(wanted.shape)
    if len(mine) >= 2 and len(mine) == len(theirs):
        del mine[-2], theirs[-2]
    if value.dtype != wanted.dtype or mine != theirs:
        raise ValueError("an array's dtype or shape differs from the model's")


def check_length(layer: Any, like: Any, length: int) -> None:
    """Refuse a layer that ``length`` tokens could not have made. Raises: ValueError."""
    if isinstance(layer, CacheList):
        for child, child_like in zip(layer.caches, like.caches, strict=True):
            check_length(child, child_like, length)
        return
    if isinstance(layer, PackedKVCache):
        for part, part_like in zip(layer.parts, like.parts, strict=True):
            check_length(part, part_like, length)
        return
    for name, value in vars(layer).items():
        if name in _COUNTS:
            if not 0 <= value <= length:
                raise ValueError(f"a layer's {name.lstrip('_')} is out of range")
        elif isinstance(value, int) and value != getattr(like, name):
            raise ValueError(f"a layer's {name} differs from the model's")
    if getattr(layer, "offset", length) != length:
        raise ValueError("a layer's length differs from the number of its tokens")
    if isinstance(layer, ArraysCache):
        _check_recurrent(layer, like)
    elif getattr(layer, "keys", None) is not None:
        _check_keys(layer, length)


def _check_recurrent(layer: Any, like: Any) -> None:
    """Check the arrays of a recurrent layer, whose shapes do not depend on the tokens.

    Raises: ValueError.
    """
    shapes = [
        [part.shape for part in cache.cache if isinstance(part, mx.array)]
        for cache in (layer, like)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError("an array's shape differs from the model's")


def _check_keys(layer: Any, length: int) -> None:
    size = layer.keys.shape[-2]
    if size != layer.values.shape[-2]:
        raise ValueError("a layer's keys and values have different lengths")
    if isinstance(layer, RotatingKVCache):
        fits = _rotates_well(layer, size, length)
    else:
        fits = size >= length - getattr(layer, "start_position", 0)
    if not fits:
        raise ValueError("a layer's arrays are shorter than its tokens")


def _rotates_well(layer: Any, size: int, length: int) -> bool:
    """Return True if a rotating cache's place for the next token fits its size and length.

    Until the ring is full, the place is behind the last token; then it is inside the ring. A slice
    of a prompt makes the buffer longer than the ring until the next token is written.
    """
    place: int = layer._idx
    ring: int = layer.max_size
    if length < ring:
        return size >= length == place
    if size > ring:
        return size == place
    return size == ring and layer.keep <= place <= ring
