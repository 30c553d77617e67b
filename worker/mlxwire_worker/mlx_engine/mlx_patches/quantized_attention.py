"""Computes attention over quantized keys and values, with one product for the heads that share keys.

Replaces `quantized_scaled_dot_product_attention` of mlx_lm.models.base (mlx-lm 0.32.2). That one
repeats the keys for each query head, and takes no mask that differs between heads (MiniMax M3).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models import base

from .exponentials import masked

Quantized = tuple[mx.array, mx.array, mx.array]
"""Codes, scales and biases, each [B, H', S, ..]."""


def replace_quantized_attention() -> None:
    """Let mlx-lm's attention use the function of this file for caches that have ``bits``."""
    base.quantized_scaled_dot_product_attention = quantized_attention


def quantized_attention(
    queries: mx.array,
    q_keys: Quantized,
    q_values: Quantized,
    scale: float,
    mask: Any,
    group_size: int = 64,
    bits: int = 8,
) -> mx.array:
    """Return attention [B, H, L, D] of queries [B, H, L, D] over quantized keys and values.

    ``mask`` is None, "causal", or an array, boolean or added to the scores.
    """
    rows, heads, length, width = queries.shape
    groups, held = q_keys[0].shape[1:3]
    grouped = (queries * scale).reshape(rows, groups, -1, width)
    scores = mx.quantized_matmul(
        grouped, *q_keys, transpose=True, group_size=group_size, bits=bits
    ).reshape(rows, heads, length, held)
    weights = mx.softmax(masked(scores, mask), axis=-1, precise=True)
    mixed: mx.array = mx.quantized_matmul(
        weights.reshape(rows, groups, -1, held),
        *q_values,
        transpose=False,
        group_size=group_size,
        bits=bits,
    )
    return mixed.reshape(rows, heads, length, -1)
