"""Key-value caches of sequences: create, merge into a batch, extract a row.

A sequence that runs alone has mlx-lm's plain caches, the fastest path; sequences that run
together have its batched ones.

Theory of operation. ``Layers`` is a list with one cache object per layer of the model. A plain
cache holds arrays [1, heads, tokens, width]. A batched cache holds [B, heads, longest, width]:
shorter rows are padded on the left, ``left_padding`` [B] counts that padding and ``offset`` [B]
the tokens of each row, while ``_idx`` is the length of the buffer in use. `CachePolicy`
(`policy`) decides which class a layer gets. Quantized caches (`packed`) consist of plain ones.

All functions run on the engine's thread, inside its stream. Arrays are lazy: `merge`, `extend`,
`keep_rows` and `extract_row` only build a graph, and `states` lists what a caller must evaluate.

Invariants:
- The caller knows the length of each row and passes it. mlx-lm reads it from the device instead
  (``left_padding.tolist()``), which stalls the pipeline once per layer. `keep_rows` and
  `_extract` therefore repeat two short methods of `BatchKVCache`, with the length as an argument.
  They apply to exactly that class; a subclass goes the slower way through its own methods.
- All layers of one kind in a batch have equal offsets, so they can share one array.
- `snapshot` copies on write: the copy costs nothing until one of the two is written, and then
  all of it.

Hazards and what went wrong before:
- Only the first layer's ``left_padding`` is ever used, so those of the others stayed lazy. Each
  join and leave added to their graphs, about 18 KB per request. See `paddings`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    BatchKVCache,
    BatchRotatingKVCache,
    CacheList,
    KVCache,
    make_prompt_cache,
)

from ..mlx_patches.windows import keep_whole_windows
from .packed import BatchPackedKVCache, PackedKVCache

Layers = list[Any]
"""One cache for each layer of the model."""

GROWTH_TOKENS = 32
"""The least by which `grow_by` lets a cache grow."""

_COUNTING = (BatchKVCache, BatchRotatingKVCache, BatchPackedKVCache)
"""Classes whose offsets are an array [B]."""


def own_caches(model: Any) -> Layers:
    """Create the empty caches that a model asks for, for one sequence; those of PLaMo 3 mended."""
    layers: Layers = make_prompt_cache(model)
    keep_whole_windows(model, layers)
    return layers


def each_cache(layers: Iterable[Any]) -> Iterator[Any]:
    """Yield the caches of all layers, and in place of a cache that has parts the parts."""
    for layer in layers:
        if isinstance(layer, CacheList):
            yield from each_cache(layer.caches)
        elif isinstance(layer, PackedKVCache):
            yield from layer.parts
        else:
            yield layer


def is_exactly(layer: Any, kind: type) -> bool:
    """Return True if a cache is of this class and no subclass, so its internals are known."""
    return type(layer) is kind


def states(layers: Layers) -> list[Any]:
    """Return the arrays to evaluate so that the caches are computed."""
    return [layer.state for layer in layers]


def paddings(layers: Layers) -> list[mx.array]:
    """Return the layers' left paddings [B], to be evaluated whenever the rows change.

    The model uses the first layer's only, for the mask of all layers. The others would stay lazy,
    and each join and leave would add to a graph that lives as long as the batch.
    """
    found = (getattr(layer, "left_padding", None) for layer in each_cache(layers))
    return [padding for padding in found if isinstance(padding, mx.array)]


def share_offsets(layers: Layers) -> None:
    """Let all layers of one class in a batch hold the same array of offsets [B].

    The offsets are equal, but each layer counts its own, and `mlx_patches.rotary` recognises
    equal positions by the identity of their array.
    """
    first: dict[type, mx.array] = {}
    for layer in layers:
        kind = type(layer)
        if kind in _COUNTING:
            layer.offset = first.setdefault(kind, layer.offset)


def unroll(layers: Layers) -> None:
    """Put the tokens of batched rotating caches in order, before several are computed at once.

    After a single token such a cache may be rolled. The mask for several tokens takes no account
    of that and counts one place of the padding as a token (mlx-lm's `make_mask`).
    """
    for layer in each_cache(layers):
        if is_exactly(layer, BatchRotatingKVCache) and layer.rotated:
            layer._temporal_order()


def nbytes(layers: Layers) -> int:
    """Return the bytes that the caches hold."""
    return sum(layer.nbytes for layer in layers)


def merge(rows: list[Layers]) -> Layers:
    """Merge the plain caches of several sequences into one batch, in this order."""
    return [layer[0].merge(list(layer)) for layer in zip(*rows, strict=True)]


@contextmanager
def right_padding(batch: Layers, lengths: list[int], width: int) -> Iterator[None]:
    """Let a batch take rows of ``lengths`` tokens that are padded on the right to ``width``.

    The pass over the padded rows belongs into the block. Rows without padding need nothing.
    """
    padding = [width - length for length in lengths]
    for layer in batch if any(padding) else []:
        layer.prepare(lengths=lengths, right_padding=padding)
    yield
    for layer in batch if any(padding) else []:
        layer.finalize()


def padded(rows: list[list[int]], width: int) -> mx.array:
    """Return token ids [B, T] of rows that are padded on the right to ``width``."""
    ids = [row + [0] * (width - len(row)) for row in rows]
    return mx.array(ids, dtype=mx.int32)


def grow_by(layers: Layers, tokens: int) -> None:
    """Let caches grow by about so many tokens at a time, where mlx-lm's 256 are more.

    A group of 32 short texts else takes, and copies for each label, caches for 256 tokens each.
    """
    step = min(KVCache.step, -(-tokens // GROWTH_TOKENS) * GROWTH_TOKENS)
    for layer in each_cache(layers):
        if is_exactly(layer, KVCache) or is_exactly(layer, BatchKVCache):
            layer.step = step


def extend(batch: Layers, other: Layers) -> Layers:
    """Append the rows of ``other`` to ``batch``, in place."""
    for layer, more in zip(batch, other, strict=True):
        layer.extend(more)
    return batch


def keep_rows(batch: Layers, kept: list[int], lengths: list[int]) -> None:
    """Remove all rows but those at the places ``kept``, in place.

    ``lengths`` are the tokens that each kept row holds.
    """
    index = mx.array(kept)
    for layer in each_cache(batch):
        if not is_exactly(layer, BatchKVCache) or layer.keys is None:
            layer.filter(kept)
            continue
        # As `BatchKVCache.filter`, which reads the least padding from the device.
        spare = max(layer._idx - max(lengths), 0)
        layer.keys = layer.keys[index][..., spare : layer._idx, :]
        layer.values = layer.values[index][..., spare : layer._idx, :]
        layer.offset = layer.offset[index]
        layer.left_padding = layer.left_padding[index] - spare
        layer._idx -= spare


def extract_row(batch: Layers, row: int, length: int) -> Layers:
    """Copy one row of a batch, which holds ``length`` tokens, into plain caches."""
    return [_extract(layer, row, length) for layer in batch]


def snapshot(layers: Layers) -> Layers:
    """Copy caches on write: later writes to the original do not change the copy."""
    return [copy.deepcopy(layer) for layer in layers]


def _extract(layer: Any, row: int, length: int) -> Any:
    if isinstance(layer, BatchPackedKVCache):
        parts = (_extract(part, row, length) for part in layer.parts)
        return PackedKVCache(layer.form, parts)
    if not is_exactly(layer, BatchKVCache):
        return layer.extract(row)
    single = KVCache()
    start = layer._idx - length
    single.keys = mx.contiguous(layer.keys[row : row + 1, :, start : layer._idx])
    single.values = mx.contiguous(layer.values[row : row + 1, :, start : layer._idx])
    single.offset = length
    return single
