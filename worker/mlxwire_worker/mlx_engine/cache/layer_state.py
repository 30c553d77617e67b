"""Converts one layer's cache to named arrays and scalars and back, for the loaded model only.

mlx-lm's caches accept any state. A state that the loaded model could not have made would raise in
a later step or produce wrong text, so `refuse_misfit` checks it first.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
)

_COUNTS = frozenset({"offset", "_idx", "start_position"})
"""The cache attributes that depend on the number of tokens; all others must equal the model's."""


def flatten(layer: Any) -> dict[str, Any]:
    """Return a layer's arrays and scalars by their paths in its state, such as ``0.1``."""
    state = layer.state
    if type(layer) in (KVCache, QuantizedKVCache) and layer.keys is not None:
        content = tree_map(  # drops the unused end of the buffer
            lambda array: array[..., : layer.offset, :], (layer.keys, layer.values)
        )
        state = (*content, *state[2:])
    flat: Any = tree_flatten(state)
    return dict(flat)


def fill(layer: Any, state: dict[str, Any]) -> None:
    """Set an empty layer's state from what `flatten` returned for another layer."""
    flat = sorted(state.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    layer.state = tree_unflatten(flat)


def refuse_misfit(layer: Any, state: dict[str, Any], like: Any, length: int) -> None:
    """Fill a layer with a state, and refuse one that ``length`` tokens could not have made.

    ``like`` is the model's own cache for this layer after one token. Raises: ValueError.
    """
    wanted = flatten(like)
    if state.keys() != wanted.keys():
        raise ValueError("a layer has other arrays and numbers than the model's")
    for name, value in state.items():
        _check_part(value, wanted[name])
    fill(layer, state)
    _check_layer(layer, like, length)


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


def _check_layer(layer: Any, like: Any, length: int) -> None:
    if isinstance(layer, CacheList):
        for child, child_like in zip(layer.caches, like.caches, strict=True):
            _check_layer(child, child_like, length)
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
    flat: Any = tree_flatten((layer.keys, layer.values))
    sizes = {array.shape[-2] for _, array in flat}
    if len(sizes) != 1:
        raise ValueError("a layer's keys and values have different lengths")
    (size,) = sizes
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
