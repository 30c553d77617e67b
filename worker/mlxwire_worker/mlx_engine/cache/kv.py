"""The key-value caches of sequences: making, joining, taking apart.

A sequence alone has mlx-lm's plain caches (the fastest path); sequences together have its
batched ones. Where mlx-lm asks the device for what is known here (a row's length), it is
computed here instead: each such question stalls the pipeline once for every layer.
"""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.models.cache import (
    BatchKVCache,
    BatchRotatingKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from mlxwire_protocol import invalid_params

Layers = list[Any]
"""One cache for each layer of the model."""


class CachePolicy:
    """How this model's caches are made: plain, in a rotating window, or quantized."""

    def __init__(
        self,
        model: Any,
        *,
        window: int | None = None,
        kv_bits: int | None = None,
        kv_group_size: int = 64,
    ) -> None:
        self._model = model
        self._window = window
        self._kv_bits = kv_bits
        self._kv_group_size = kv_group_size
        layers = self.make()
        if kv_bits is not None:
            self._check_quantization()
        self.batchable = all(hasattr(layer, "merge") for layer in layers)
        # A rotating cache can be trimmed only until it first rotates.
        self.trimmable = all(
            layer.is_trimmable() and not isinstance(layer, RotatingKVCache) for layer in layers
        )
        self.fingerprint = f"{[type(layer).__name__ for layer in layers]}/{window}/{kv_bits}/{kv_group_size if kv_bits else 0}"

    def make(self) -> Layers:
        """Empty caches for one sequence.

        Raises: WireError ``invalid_params`` where a layer's kind can't be had as asked.
        """
        layers: Layers = make_prompt_cache(self._model)
        if self._window is not None:
            # max_kv_size is ignored by every model with a make_cache, Llama's among them.
            layers = [self._rotating(layer) for layer in layers]
        if self._kv_bits is not None:
            layers = [self._quantized(layer) for layer in layers]
        return layers

    def example(self) -> Layers:
        """Caches after one token, lazily: their shapes are known, nothing is computed."""
        layers = self.make()
        self._model(mx.zeros((1, 1), dtype=mx.int32), cache=layers)
        return layers

    def _rotating(self, layer: Any) -> Any:
        if type(layer) is KVCache:
            assert self._window is not None
            # keep=0: a batch's rotating cache has no kept head, and both must agree.
            return RotatingKVCache(max_size=self._window, keep=0)
        if isinstance(layer, RotatingKVCache):
            return layer
        raise invalid_params(
            "context_policy",
            f"this model's {type(layer).__name__} can't rotate; load with `refuse`",
        )

    def _check_quantization(self) -> None:
        """Whether the heads' width can be cut into such groups, which only mlx can say."""
        try:
            self.example()
        except ValueError:
            raise invalid_params(
                "kv_group_size",
                f"keys and values of this model can't be cut into groups of "
                f"{self._kv_group_size}: a head's width must be divisible by it; ask for a "
                "smaller `kv_group_size`, or leave `kv_bits` out",
            ) from None

    def _quantized(self, layer: Any) -> Any:
        if type(layer) is not KVCache:
            raise invalid_params(
                "kv_bits",
                f"this model's {type(layer).__name__} can't be quantized; leave it out",
            )
        assert self._kv_bits is not None
        return QuantizedKVCache(group_size=self._kv_group_size, bits=self._kv_bits)


def is_exactly(layer: Any, kind: type) -> bool:
    """Whether a cache is of this very class, whose inner workings may then be relied on."""
    return type(layer) is kind


def states(layers: Layers) -> list[Any]:
    """What must be evaluated for the caches to be in memory."""
    return [layer.state for layer in layers]


def paddings(layers: Layers) -> list[mx.array]:
    """What a batch's rows are padded by. Only the first layer's is ever used, for the mask of all:
    the others' would stay lazy, and each join and leave add to a graph that lives with the batch."""
    found = (getattr(layer, "left_padding", None) for layer in layers)
    return [padding for padding in found if isinstance(padding, mx.array)]


def share_offsets(layers: Layers) -> None:
    """Have all of a batch's layers hold one array of offsets, which are equal in each of a kind.

    They count one step at a time, each for itself, and `rotary` knows equal positions by their array.
    """
    first: dict[type, mx.array] = {}
    for layer in layers:
        kind = type(layer)
        if kind is BatchKVCache or kind is BatchRotatingKVCache:
            layer.offset = first.setdefault(kind, layer.offset)


def nbytes(layers: Layers) -> int:
    """Bytes that the caches hold."""
    return sum(layer.nbytes for layer in layers)


def merge(rows: list[Layers]) -> Layers:
    """Single sequences' caches as one batch, in this order."""
    return [layer[0].merge(list(layer)) for layer in zip(*rows, strict=True)]


def extend(batch: Layers, other: Layers) -> Layers:
    """Append the rows of ``other`` to ``batch``, in place."""
    for layer, more in zip(batch, other, strict=True):
        layer.extend(more)
    return batch


def keep_rows(batch: Layers, kept: list[int], lengths: list[int]) -> None:
    """Drop all rows but ``kept``, whose ``lengths`` are the tokens that they hold."""
    index = mx.array(kept)
    for layer in batch:
        if not is_exactly(layer, BatchKVCache) or layer.keys is None:
            layer.filter(kept)
            continue
        # As BatchKVCache.filter, but the least padding is known without asking the device.
        spare = max(layer._idx - max(lengths), 0)
        layer.keys = layer.keys[index][..., spare : layer._idx, :]
        layer.values = layer.values[index][..., spare : layer._idx, :]
        layer.offset = layer.offset[index]
        layer.left_padding = layer.left_padding[index] - spare
        layer._idx -= spare


def extract_row(batch: Layers, row: int, length: int) -> Layers:
    """One row of a batch as a sequence's own caches; its first ``length`` tokens are held."""
    return [_extract(layer, row, length) for layer in batch]


def snapshot(layers: Layers) -> Layers:
    """A copy that later writes to the original do not change; costs nothing until then."""
    return [copy.deepcopy(layer) for layer in layers]


def trim(layers: Layers, held: int, wanted: int) -> bool:
    """Cut a sequence's caches from ``held`` tokens to the first ``wanted``; false if they can't."""
    if held == wanted:
        return True
    if not all(layer.is_trimmable() for layer in layers):
        return False
    for layer in layers:
        layer.trim(held - wanted)
        _cut_room(layer, wanted)
    return True


def _cut_room(layer: Any, wanted: int) -> None:
    """Let go of a long sequence's buffer where little of it is wanted: the next write copies all
    that is there, so one shared token would cost as much memory as the whole sequence."""
    if type(layer) not in (KVCache, QuantizedKVCache) or layer.keys is None:
        return
    room = -(-wanted // layer.step) * layer.step
    layer.keys, layer.values = tree_map(
        lambda array: array[..., :room, :], (layer.keys, layer.values)
    )


def _extract(layer: Any, row: int, length: int) -> Any:
    if not is_exactly(layer, BatchKVCache):
        return layer.extract(row)
    single = KVCache()
    start = layer._idx - length
    single.keys = mx.contiguous(layer.keys[row : row + 1, :, start : layer._idx])
    single.values = mx.contiguous(layer.values[row : row + 1, :, start : layer._idx])
    single.offset = length
    return single
