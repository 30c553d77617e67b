"""The fast GELU is the one of the formula, for numbers of all sizes and on every device."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from mlxwire_worker.mlx_engine.encoders.gelu import gelu


def exact(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    return [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x]


def test_it_is_the_formula_s() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, 1e-30, -1e-30, 1e4, -1e4]])

    found = np.array(gelu(mx.array(x, dtype=mx.float32)))

    np.testing.assert_allclose(found, exact(x), rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_narrower_numbers_are_computed_by_mlx(dtype: mx.Dtype) -> None:
    x = np.linspace(-6, 6, 101)

    found = gelu(mx.array(x, dtype=dtype))

    assert found.dtype == dtype
    np.testing.assert_allclose(np.array(found.astype(mx.float32)), exact(x), atol=0.03)


def test_no_number_stays_none() -> None:
    assert math.isnan(gelu(mx.array([mx.nan])).item())
