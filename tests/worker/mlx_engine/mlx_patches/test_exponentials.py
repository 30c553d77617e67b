"""Vectorized exponentials give MLX's own results, in every shape and with every mask."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import activations, base, llama

from mlxwire_worker.mlx_engine.mlx_patches import exponentials
from mlxwire_worker.mlx_engine.mlx_patches.exponentials import (
    _exp,
    scaled_dot_product_attention,
    swiglu,
)

from ..conftest import Open

SHAPES = [(1, 9, 3, 64, 80, 16), (6, 5, 5, 1, 300, 32), (2, 4, 1, 33, 33, 8)]


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exponentials, "SMALLEST_SIZE", 0)


def arrays(rows: int, heads: int, groups: int, length: int, held: int, width: int) -> Any:
    """Return random queries, keys and values."""
    shapes = (
        (rows, heads, length, width),
        (rows, groups, held, width),
        (rows, groups, held, width),
    )
    keys = mx.random.split(mx.random.key(rows), 3)
    return [
        3 * mx.random.normal(shape, key=key) for shape, key in zip(shapes, keys, strict=True)
    ]


def masks(rows: int, length: int, held: int) -> list[Any]:
    """Return every kind of mask; in the last one a row of a batch sees nothing."""
    causal = mx.arange(held - length, held)[:, None] >= mx.arange(held)[None]
    padded = mx.broadcast_to(causal, (rows, 1, length, held)) & (mx.arange(held) > 4)
    added = mx.where(causal, 0.0, -mx.inf)
    blind = padded & (mx.arange(rows) > 0)[:, None, None, None]
    return [None, "causal", causal, padded, added, blind]


def test_exponentials_are_as_exact_as_mlxs_own() -> None:
    numbers = mx.linspace(-87, 88, 100_001)
    exact = np.exp(np.array(numbers).astype(np.float64))

    for compute in (mx.exp, _exp):
        relative = np.abs(np.array(compute(numbers)).astype(np.float64) / exact - 1)
        assert relative.max() < 8e-6


def test_exponentials_of_extremes_are_tiny_or_large_and_never_nan() -> None:
    least, negative, zero, most = np.array(_exp(mx.array([-mx.inf, -1e30, 0.0, 1e30])))

    assert 0 <= least == negative < 1e-37
    assert zero == 1
    assert 1e37 < most < np.inf


def test_an_exponential_is_its_own_gradient() -> None:
    numbers = mx.linspace(-5, 5, 11)

    gradient = mx.grad(lambda x: _exp(x).sum())(numbers)

    assert mx.allclose(gradient, mx.exp(numbers), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", range(6))
def test_attention_is_mlxs_own(shape: tuple[int, ...], kind: int) -> None:
    queries, keys, values = arrays(*shape)
    mask = masks(shape[0], shape[3], shape[4])[kind]

    ours = scaled_dot_product_attention(queries, keys, values, None, 0.3, mask)
    own = base.scaled_dot_product_attention(
        queries, keys, values, cache=None, scale=0.3, mask=mask
    )

    assert ours.shape == own.shape
    assert mx.allclose(ours, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_swiglu_is_mlxs_own(dtype: mx.Dtype) -> None:
    gate = (40 * mx.random.normal((3, 700), key=mx.random.key(1))).astype(dtype)
    x = mx.random.normal((3, 700), key=mx.random.key(2)).astype(dtype)

    ours, own = swiglu(gate, x), activations.swiglu(gate, x)

    assert ours.dtype == own.dtype == dtype
    assert mx.allclose(ours, own, rtol=1e-5, atol=1e-6)


def test_other_dtypes_sinks_and_quantized_caches_are_left_to_mlx_lm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[Any] = []
    monkeypatch.setattr(exponentials, "_own_attention", lambda *_, **kind: left.append(kind))
    queries, keys, values = arrays(*SHAPES[0])
    quantized = type("Quantized", (), {"bits": 4})()

    scaled_dot_product_attention(queries, (keys,), (values,), quantized, 1.0, None)
    scaled_dot_product_attention(queries, keys, values, None, 1.0, None, mx.zeros(9))
    narrow = [array.astype(mx.bfloat16) for array in (queries, keys, values)]
    scaled_dot_product_attention(*narrow, None, 1.0, None)

    assert len(left) == 3


def test_a_loaded_model_uses_them_on_a_processor(open_model: Open) -> None:
    direct = open_model("llama3", compute_dtype="float32")
    ours = direct.tokens("The weather in Paris", max_tokens=12, ignore_eos=True)

    if mx.default_device() != mx.cpu:
        assert llama.swiglu is activations.swiglu
        return
    assert llama.swiglu is swiglu
    assert llama.scaled_dot_product_attention is scaled_dot_product_attention
    assert len(ours) == 12
