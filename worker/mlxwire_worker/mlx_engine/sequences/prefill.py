"""Computes prompt tokens: a slice of a long prompt, whose size follows the time that earlier slices
took, or the rest of several short prompts."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..cache import kv
from .rows import Row


class ChunkSize:
    """The number of prompt tokens for one slice of prefill that takes about ``seconds``.

    ``tokens`` is a power of two, at most mlx-lm's own 2048. A slice is the longest time that a
    cancel waits and that the decoding rows stand still.
    """

    SMALLEST, LARGEST = 16, 2048

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        # Small until something is measured: 512 tokens took 0.7 s on two busy processor cores.
        self.tokens = 64

    def learn(self, tokens: int, seconds: float) -> None:
        """Adjust ``tokens`` to a measured slice; ignore a short one, which says little."""
        if tokens < self.SMALLEST or seconds <= 0:
            return
        fitting = tokens * self._seconds / seconds
        # Attention makes later slices of a prompt slower, so shrink at once and grow by doubling.
        if fitting < self.tokens:
            self.tokens = max(self.SMALLEST, 1 << max(int(fitting).bit_length() - 1, 0))
        elif fitting >= 2 * self.tokens and tokens * 2 >= self.tokens:
            self.tokens = min(self.LARGEST, 2 * self.tokens)


def compute_slice(model: Any, row: Row, size: int) -> None:
    """Compute the next ``size`` tokens of a row's prompt into its own caches."""
    assert row.layers is not None
    ids = mx.array(row.tokens[row.held : row.held + size])
    model(ids[None], cache=row.layers)
    mx.eval(kv.states(row.layers))


def compute_rest(model: Any, rows: list[Row]) -> kv.Layers:
    """Compute all but the last token of each row's prompt, and return the caches.

    The caches are plain for one row, and one batch for several. Each row must have caches; the
    rows' ``held`` is left to the caller.
    """
    if len(rows) == 1:
        (row,) = rows
        assert row.layers is not None
        if row.left:
            compute_slice(model, row, row.left)
        return row.layers
    layers = kv.merge([row.layers for row in rows if row.layers is not None])
    lengths = [row.left for row in rows]
    longest = max(lengths)
    if not longest:
        return layers
    padding = [longest - length for length in lengths]
    ids = mx.array(
        [
            row.tokens[row.held : row.held + row.left] + [0] * pad
            for row, pad in zip(rows, padding, strict=True)
        ]
    )
    for layer in layers if any(padding) else []:
        layer.prepare(lengths=lengths, right_padding=padding)
    model(ids, cache=layers)
    for layer in layers if any(padding) else []:
        layer.finalize()
    mx.eval(kv.states(layers))
    return layers
