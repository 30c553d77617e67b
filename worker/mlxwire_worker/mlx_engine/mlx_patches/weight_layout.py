"""Stores weights transposed where a fast BLAS multiplies by them sooner.

A linear layer computes ``x @ weight.T``. For few rows OpenBLAS (0.3.34, AVX-512) copies the whole
weight into another order first, or reads several rows of it at once. The copy dominates if the
weight is small, and rows that lie a multiple of a page apart displace each other in the processor's
cache. Neither happens with the transposed weight in memory (docs/engine-notes.md §18).
"""

from __future__ import annotations

import mlx.core as mx
from mlx import nn

from .blas import in_use

SMALL_SIZE = 1 << 17
"""The numbers of a small weight, which stays in the processor's cache."""
PAGE_NUMBERS = 1024
"""The float32 numbers of a page of memory, 4 KiB."""
MOST_OUTPUTS = 8192
"""The outputs up to which the transposed order is faster: with 49,152 it took twice the time."""


def transpose_weights(model: nn.Module) -> None:
    """Store float32 weights of linear layers transposed, one at a time, if a fast BLAS is used.

    Shapes and values stay the same: such a weight is a view of the transposed one. The weights must
    have been evaluated. Embeddings are included, since a tied one is the last layer.
    """
    if in_use().threads is None:
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding) and _gains(module.weight):
            module.weight = mx.contiguous(module.weight.T).T
            mx.eval(module.weight)


def _gains(weight: mx.array) -> bool:
    """Return True for a weight [outputs, inputs] that is multiplied sooner if it is transposed."""
    outputs, inputs = weight.shape
    return (
        weight.dtype == mx.float32
        and outputs <= MOST_OUTPUTS
        and (weight.size <= SMALL_SIZE or inputs % PAGE_NUMBERS == 0)
    )
