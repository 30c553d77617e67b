"""Computes SwiGLU and large softmaxes on a CPU with vectorized exponentials.

Replaces `swiglu` of mlx_lm.models.activations and `scaled_dot_product_attention` of
mlx_lm.models.base (mlx-lm 0.32.2). MLX's `exp` takes a processor 12 ns a number on x86 (mlx 0.32.4),
since it is not vectorized there: once a fast BLAS computes the products, softmax and SwiGLU took 40 %
of a prefill. A polynomial in plain operations takes 2 ns, with the same largest error, 4e-6.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx_lm.models import activations, base

SMALLEST_SIZE = 1 << 13
"""The number of exponentials from which the operations here are faster than MLX's own."""
_LOG2_E = 1.4426950408889634
_LEAST, _MOST = -87.0, 88.0
"""The range outside of which a float32 exponential is not normal."""
_ROUNDING = 12582912.0
"""1.5 * 2^23: added to a small float32 number, it leaves the nearest integer in the last bits."""
_POWERS = (
    1.0,
    0.6931471805599453,
    0.2402265069591007,
    0.05550410866482158,
    0.009618129107628477,
    0.0013333558146428443,
    0.00015403530393381608,
)
"""Taylor's coefficients of 2^x, for x from -0.5 to 0.5."""

_own_swiglu: Callable[..., mx.array] = activations.swiglu
_own_attention: Callable[..., mx.array] = base.scaled_dot_product_attention


def vectorize(model: Any) -> None:
    """Let a model's module use the functions of this file, if MLX computes on the CPU.

    They leave arrays of other dtypes than float32 to mlx-lm's own.
    """
    if mx.default_device() != mx.cpu:
        return
    for part in {type(module).__module__ for module in model.modules()}:
        names = vars(sys.modules[part])
        if names.get("swiglu") is _own_swiglu:
            names["swiglu"] = swiglu
        if names.get("scaled_dot_product_attention") is _own_attention:
            names["scaled_dot_product_attention"] = scaled_dot_product_attention


def _polynomial_exp(x: mx.array) -> mx.array:
    """Return e^x of float32 numbers: 2^n, by its bits, times 2^f by a polynomial.

    Not compiled: MLX compiles no `view` for all shapes, and its kernel of the rest was no faster.
    """
    y = mx.minimum(mx.maximum(x, _LEAST), _MOST) * _LOG2_E
    shifted = y + _ROUNDING  # n in the last bits
    f = y - (shifted - _ROUNDING)
    power = f * _POWERS[-1] + _POWERS[-2]
    for coefficient in _POWERS[-3::-1]:
        power = power * f + coefficient
    return (power.view(mx.int32) + (shifted.view(mx.int32) << 23)).view(mx.float32)


_exp: Any = mx.custom_function(_polynomial_exp)
# For training: MLX has no gradient of `view`.
_exp.vjp(lambda _, cotangent, output: cotangent * output)


@contextmanager
def traceable() -> Iterator[None]:
    """Leave the gradient out inside the block: MLX can't export a function that has its own."""
    global _exp
    held, _exp = _exp, _polynomial_exp
    try:
        yield
    finally:
        _exp = held


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """Return silu(gate) * x, elementwise."""
    if gate.dtype == mx.float32 == x.dtype and gate.size >= SMALLEST_SIZE:
        gated: mx.array = gate * x / (1.0 + _exp(-gate))
        return gated
    return _own_swiglu(gate, x)


def scaled_dot_product_attention(
    queries: mx.array,
    keys: Any,
    values: Any,
    cache: Any,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """Return attention [B, H, L, D] of queries [B, H, L, D] over keys and values [B, H', S, D].

    ``mask`` is None, "causal", or an array, boolean or added to the scores.
    """
    if (
        sinks is not None
        or hasattr(cache, "bits")
        or queries.dtype != mx.float32
        or queries.size // queries.shape[-1] * keys.shape[2] < SMALLEST_SIZE
    ):
        return _own_attention(
            queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks
        )
    rows, heads, length, width = queries.shape
    groups, held = keys.shape[1], keys.shape[2]
    grouped = (queries * scale).reshape(rows, groups, -1, width)
    scores = (grouped @ keys.swapaxes(-1, -2)).reshape(rows, heads, length, held)
    scores = masked(scores, mask)
    weights: mx.array = _exp(scores - scores.max(axis=-1, keepdims=True))
    mixed: mx.array = weights.reshape(rows, groups, -1, held) @ values
    total: mx.array = weights.sum(axis=-1, keepdims=True)
    attended: mx.array = mixed.reshape(rows, heads, length, -1) / total
    return attended


def masked(scores: mx.array, mask: mx.array | str | None) -> mx.array:
    """Return scores [B, H, L, S] with those that ``mask`` excludes at the least number of their dtype."""
    if mask is None:
        return scores
    if isinstance(mask, str):
        length, held = scores.shape[-2:]
        mask = mx.arange(held - length, held)[:, None] >= mx.arange(held)[None]
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.finfo(scores.dtype).min)
    return scores + mask
