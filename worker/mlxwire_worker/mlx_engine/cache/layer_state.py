"""One layer's cache as named arrays and scalars, and back, for this model alone.

mlx-lm's caches believe whatever state they are given: one that the model could not have made
would raise in a later step, or answer in wrong words.
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
"""Of a cache's numbers those that depend on the tokens."""


def flatten(layer: Any) -> dict[str, Any]:
    """A layer's arrays and scalars by their places in its state."""
    state = layer.state
    if type(layer) in (KVCache, QuantizedKVCache) and layer.keys is not None:
        content = tree_map(  # without the room for growth
            lambda array: array[..., : layer.offset, :], (layer.keys, layer.values)
        )
        state = (*content, *state[2:])
    flat: Any = tree_flatten(state)
    return dict(flat)


def fill(layer: Any, state: dict[str, Any]) -> None:
    """Give an empty layer what `flatten` told of another."""
    flat = sorted(state.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    layer.state = tree_unflatten(flat)


def refuse_misfit(layer: Any, state: dict[str, Any], like: Any, length: int) -> None:
    """Fill a layer with a state that the model could have made of ``length`` tokens.

    ``like`` is the model's own after one token. Raises: ValueError.
    """
    wanted = flatten(like)
    if state.keys() != wanted.keys():
        raise ValueError("it has other parts than the model's")
    for name, value in state.items():
        _check_part(value, wanted[name])
    fill(layer, state)
    _check_layer(layer, like, length)


def _check_part(value: Any, wanted: Any) -> None:
    """An array is of the wanted one's dtype and shape, the length in tokens aside."""
    if type(value) is not type(wanted):
        raise ValueError("a part of it is of another kind than the model's")
    if not isinstance(value, mx.array):
        if not isinstance(value, int) and value != wanted:
            raise ValueError("a part of it is another than the model's")
        return
    mine, theirs = list(value.shape), list(wanted.shape)
    if len(mine) >= 2 and len(mine) == len(theirs):
        del mine[-2], theirs[-2]
    if value.dtype != wanted.dtype or mine != theirs:
        raise ValueError("an array of it is of another shape than the model's")


def _check_layer(layer: Any, like: Any, length: int) -> None:
    if isinstance(layer, CacheList):
        for child, child_like in zip(layer.caches, like.caches, strict=True):
            _check_layer(child, child_like, length)
        return
    for name, value in vars(layer).items():
        if name in _COUNTS:
            if not 0 <= value <= length:
                raise ValueError(f"its {name.lstrip('_')} is impossible")
        elif isinstance(value, int) and value != getattr(like, name):
            raise ValueError(f"its {name} is another than the model's")
    if getattr(layer, "offset", length) != length:
        raise ValueError("it is not as long as its tokens")
    if isinstance(layer, ArraysCache):
        _check_recurrent(layer, like)
    elif getattr(layer, "keys", None) is not None:
        _check_keys(layer, length)


def _check_recurrent(layer: Any, like: Any) -> None:
    """Its arrays do not grow with the tokens."""
    shapes = [
        [part.shape for part in cache.cache if isinstance(part, mx.array)]
        for cache in (layer, like)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError("an array of it is of another shape than the model's")


def _check_keys(layer: Any, length: int) -> None:
    flat: Any = tree_flatten((layer.keys, layer.values))
    sizes = {array.shape[-2] for _, array in flat}
    if len(sizes) != 1:
        raise ValueError("its keys are not as long as its values")
    (size,) = sizes
    if isinstance(layer, RotatingKVCache):
        fits = _rotates_well(layer, size, length)
    else:
        fits = size >= length - getattr(layer, "start_position", 0)
    if not fits:
        raise ValueError("it does not hold as many tokens as it says")


def _rotates_well(layer: Any, size: int, length: int) -> bool:
    """Until it is full the next token's place is behind the last; then in the ring; a prompt's
    slice makes it longer than the ring for a moment."""
    place: int = layer._idx
    ring: int = layer.max_size
    if length < ring:
        return size >= length == place
    if size > ring:
        return size == place
    return size == ring and layer.keep <= place <= ring
