"""Records the operations of a forward pass, with the shapes of their arrays; nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import (
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    RotatingKVCache,
)

from ..cache import kv
from ..cache.model_check import first_layers
from ..cache.policy import CachePolicy
from ..cache.sizes import STEP_TOKENS, window_of
from ..mlx_patches.exponentials import traceable


class Array(NamedTuple):
    """An array of a recorded pass, by its name there."""

    name: str
    nbytes: int


class Operation(NamedTuple):
    """An operation of a recorded pass."""

    kind: str
    inputs: list[Array]
    outputs: list[Array]


class Pass(NamedTuple):
    """The operations of a pass in their order, and the names of the arrays that outlive it."""

    operations: list[Operation]
    kept: frozenset[str]


def trace_pass(model: Any, policy: CachePolicy, tokens: int, held: int) -> Pass:
    """Record a pass of ``tokens`` into the caches of a sequence that hold ``held`` tokens.

    Of a model with many layers the first ones are taken, so many that all kinds are among them and
    one more. Raises: ValueError if MLX can't record an operation.
    """
    with first_layers(model, policy.make_unbounded, more=1), traceable(), _exportable():
        layers = _filled(policy, held, tokens)
        return _record(model, layers, mx.zeros((1, tokens), dtype=mx.int32))


@contextmanager
def _exportable() -> Iterator[None]:
    """Replace `mx.contiguous`, which MLX can't export, by an operation that makes a copy too."""
    own = mx.contiguous
    mx.contiguous = lambda array, *_, **__: array + array
    try:
        yield
    finally:
        mx.contiguous = own


def _record(model: Any, layers: kv.Layers, ids: mx.array) -> Pass:
    events: list[dict[str, Any]] = []
    weights: Any = tree_flatten(model.parameters())
    places = list(_arrays_of(layers))

    def run(ids: mx.array, *arrays: mx.array) -> list[mx.array]:
        names = (name for name, _ in weights)
        model.update(tree_unflatten(list(zip(names, arrays, strict=False))))
        for place, array in zip(places, arrays[len(weights) :], strict=True):
            place.put(array)
        model(ids, cache=layers)
        state: Any = tree_flatten(kv.states(layers))
        return [array for _, array in state if isinstance(array, mx.array)]

    try:
        # Arrays that are arguments need no values: MLX records operations on their shapes.
        held = [array for _, array in weights] + [place.get() for place in places]
        mx.export_function(events.append, run, ids, *held)
    finally:
        model.update(tree_unflatten(weights))
    operations = [
        Operation(event["name"], _arrays(event["inputs"]), _arrays(event["outputs"]))
        for event in events
        if event["type"] == "primitive"
    ]
    ends = (event["outputs"] for event in events if event["type"] == "outputs")
    return Pass(operations, frozenset(array[0] for end in ends for array in end))


def _arrays(described: list[tuple[str, tuple[int, ...], mx.Dtype]]) -> list[Array]:
    return [Array(name, math.prod(shape) * dtype.size) for name, shape, dtype in described]


class _Place(NamedTuple):
    """A place in a cache that holds an array: an attribute of an object, or a place in a list."""

    owner: Any
    key: Any

    def get(self) -> mx.array:
        array: mx.array = (
            self.owner[self.key]
            if isinstance(self.owner, list)
            else getattr(self.owner, self.key)
        )
        return array

    def put(self, array: mx.array) -> None:
        if isinstance(self.owner, list):
            self.owner[self.key] = array
        else:
            setattr(self.owner, self.key, array)


def _arrays_of(layers: kv.Layers) -> Iterator[_Place]:
    """Yield the places of all arrays in caches; turn tuples of arrays into lists."""
    for cache in kv.each_cache(layers):
        for name, value in list(vars(cache).items()):
            if isinstance(value, mx.array):
                yield _Place(cache, name)
            elif isinstance(value, list | tuple):
                items = list(value)
                setattr(cache, name, items)
                yield from (
                    _Place(items, index)
                    for index, item in enumerate(items)
                    if isinstance(item, mx.array)
                )


def _filled(policy: CachePolicy, held: int, more: int) -> kv.Layers:
    """Create caches that hold ``held`` tokens and have room for ``more``; their arrays are lazy."""
    layers = policy.example()
    for cache in kv.each_cache(layers):
        if getattr(cache, "keys", None) is None:
            continue
        known = min(held, window_of(cache) or held)
        room = known
        if isinstance(cache, KVCache | ChunkedKVCache):
            room = -(-(known + more) // STEP_TOKENS) * STEP_TOKENS
        elif not isinstance(cache, RotatingKVCache | ConcatenateKVCache):
            continue
        cache.keys, cache.values = _resized(cache.keys, room), _resized(cache.values, room)
        cache.offset = held
        if isinstance(cache, RotatingKVCache):
            cache._idx = known
        if isinstance(cache, ChunkedKVCache):
            cache.start_position = held - known
    return layers


def _resized(arrays: Any, tokens: int) -> Any:
    if isinstance(arrays, mx.array):
        shape = list(arrays.shape)
        shape[-2] = tokens
        return mx.zeros(shape, dtype=arrays.dtype)
    return [_resized(each, tokens) for each in arrays]
