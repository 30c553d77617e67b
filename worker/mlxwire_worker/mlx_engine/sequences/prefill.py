"""Computes prompt tokens: one slice of a long prompt, or the rest of several short ones."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..cache import kv
from .rows import Row


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
