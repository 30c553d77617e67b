"""Key-value caches of sequences: create, merge into a batch, extract a row.

A sequence that runs alone has mlx-lm's plain caches, the fastest path; sequences that run
together have its batched ones.

Theory of operation. ``Layers`` is a list with one cache object per layer of the model. A plain
cache holds arrays [1, heads, tokens, width]. A batched cache holds [B, heads, longest, width]:
shorter rows are padded on the left, ``left_padding`` [B] counts that padding and ``offset`` [B]
the tokens of each row, while ``_idx`` is the length of the buffer in use. `CachePolicy` decides
which class a layer gets (plain, rotating, quantized) and what can be done with it. That depends on
the classes and on the `Verdict` of a check of the model itself (`model_check`), because classes
promise what models do not keep: Jamba's layers take padding into their state, and Apple's afm7
rotates all rows by the positions of the first.

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
- `max_kv_size` is ignored by every model that defines `make_cache`, so the window is built here,
  with ``keep=0``: batched rotating caches drop the kept head (docs/engine-notes.md §11).
- Only the first layer's ``left_padding`` is ever used, so those of the others stayed lazy. Each
  join and leave added to their graphs, about 18 KB per request. See `paddings`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    BatchKVCache,
    BatchRotatingKVCache,
    CacheList,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from mlxwire_protocol import invalid_params

from ..mlx_patches.windows import keep_whole_windows
from . import trimming
from .verdict import CAREFUL, Verdict

Layers = list[Any]
"""One cache for each layer of the model."""


def can_rotate(model: Any) -> bool:
    """Return True if every layer of a model can forget the oldest tokens past a window."""
    return all(
        type(layer) is KVCache or isinstance(layer, RotatingKVCache)
        for layer in make_prompt_cache(model)
    )


class CachePolicy:
    """Creates the caches of one model: plain, with a rotating window, or quantized.

    ``window`` and ``kv_group_size`` are in tokens and in numbers per group. ``fingerprint`` is
    equal for policies whose caches are interchangeable. ``verdict`` is that of the check of the
    model; before it, sequences run alone and caches are not cut.

    Raises: WireError ``invalid_params`` for ``context_policy``, ``kv_bits`` or
    ``kv_group_size``.
    """

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
        self._mergeable = all(hasattr(layer, "merge") for layer in layers)
        self._keeps_all = all(map(trimming.keeps_all, layers))
        self.verdict: Verdict = CAREFUL
        self.fingerprint = f"{[type(layer).__name__ for layer in layers]}/{window}/{kv_bits}/{kv_group_size if kv_bits else 0}"

    @property
    def batchable(self) -> bool:
        """Return True if sequences can be computed together, whatever their caches hold."""
        return self._mergeable and self.verdict.together

    @property
    def pads(self) -> bool:
        """Return True if prompts of unlike length can be prefilled together."""
        return self.batchable and self.verdict.padded

    @property
    def cuts(self) -> bool:
        """Return True if caches can be cut as long as their state allows it (`trimming`)."""
        return self.verdict.cut

    @property
    def trimmable(self) -> bool:
        """Return True if the last tokens of a cache can always be cut off."""
        return self._keeps_all and self.cuts

    @property
    def rotates(self) -> bool:
        """Return True if the caches forget the oldest tokens past the window."""
        return self._window is not None

    def make(self) -> Layers:
        """Create empty caches for one sequence.

        Raises: WireError ``invalid_params`` if a layer's class can't rotate or be quantized.
        """
        layers: Layers = make_prompt_cache(self._model)
        keep_whole_windows(self._model, layers)
        if self._window is not None:
            # max_kv_size is ignored by every model with a make_cache, Llama's among them.
            layers = [self._rotating(layer) for layer in layers]
        if self._kv_bits is not None:
            layers = [self._quantized(layer) for layer in layers]
        return layers

    def example(self) -> Layers:
        """Create caches that hold one token, lazily: only their shapes and dtypes are known."""
        layers = self.make()
        self._model(mx.zeros((1, 1), dtype=mx.int32), cache=layers)
        return layers

    def _rotating(self, layer: Any) -> Any:
        if type(layer) is KVCache:
            assert self._window is not None
            # keep=0: a batched rotating cache keeps no head, and both must give the same text.
            return RotatingKVCache(max_size=self._window, keep=0)
        if isinstance(layer, RotatingKVCache):
            return layer
        raise invalid_params(
            "context_policy",
            f"`context_policy` is `rotate`, but this model's {type(layer).__name__} can't rotate; "
            "load the model with `refuse`",
        )

    def _check_quantization(self) -> None:
        """Run one lazy step: only MLX knows which head widths the group size divides.

        Raises: WireError ``invalid_params`` for ``kv_group_size``.
        """
        try:
            self.example()
        except ValueError:
            raise invalid_params(
                "kv_group_size",
                f"`kv_group_size` is {self._kv_group_size}, but the width of this model's "
                "attention heads is not divisible by it; send a smaller `kv_group_size`, or leave "
                "`kv_bits` out",
            ) from None

    def _quantized(self, layer: Any) -> Any:
        if type(layer) is not KVCache:
            raise invalid_params(
                "kv_bits",
                f"`kv_bits` is given, but this model's {type(layer).__name__} can't be quantized; "
                "leave `kv_bits` out",
            )
        assert self._kv_bits is not None
        return QuantizedKVCache(group_size=self._kv_group_size, bits=self._kv_bits)


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
    found = (getattr(layer, "left_padding", None) for layer in layers)
    return [padding for padding in found if isinstance(padding, mx.array)]


def share_offsets(layers: Layers) -> None:
    """Let all layers of one class in a batch hold the same array of offsets [B].

    The offsets are equal, but each layer counts its own, and `mlx_patches.rotary` recognises
    equal positions by the identity of their array.
    """
    first: dict[type, mx.array] = {}
    for layer in layers:
        kind = type(layer)
        if kind is BatchKVCache or kind is BatchRotatingKVCache:
            layer.offset = first.setdefault(kind, layer.offset)


def unroll(layers: Layers) -> None:
    """Put the tokens of batched rotating caches in order, before several are computed at once.

    After a single token such a cache may be rolled. The mask for several tokens takes no account
    of that and counts one place of the padding as a token (mlx-lm's `make_mask`).
    """
    for layer in layers:
        if is_exactly(layer, CacheList):
            unroll(layer.caches)
        elif is_exactly(layer, BatchRotatingKVCache) and layer.rotated:
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
    for layer in batch:
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
    if not is_exactly(layer, BatchKVCache):
        return layer.extract(row)
    single = KVCache()
    start = layer._idx - length
    single.keys = mx.contiguous(layer.keys[row : row + 1, :, start : layer._idx])
    single.values = mx.contiguous(layer.values[row : row + 1, :, start : layer._idx])
    single.offset = length
    return single
