"""A transposed order in memory changes no result of a layer."""

from __future__ import annotations

from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from mlxwire_worker.mlx_engine.mlx_patches import weight_layout
from mlxwire_worker.mlx_engine.mlx_patches.blas import InUse
from mlxwire_worker.mlx_engine.mlx_patches.weight_layout import transpose_weights


class Layers(nn.Module):  # type: ignore[misc]
    """Layers that gain from the other order in memory, and layers that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.linear = nn.Linear(8, 12)
        self.narrow = nn.Linear(8, 12)
        self.narrow.set_dtype(mx.bfloat16)
        self.paged = nn.Linear(weight_layout.PAGE_NUMBERS, 200)
        self.large = nn.Linear(weight_layout.PAGE_NUMBERS + 1, 200)
        self.wide = nn.Linear(8, weight_layout.MOST_OUTPUTS + 1)
        mx.eval(self.parameters())


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        weight_layout, "in_use", lambda: InUse("OpenBLAS", threads=cast(Any, object()))
    )


def is_transposed(weight: mx.array) -> bool:
    """Return True if a weight's columns are contiguous in memory."""
    strides: Any = np.array(weight, copy=False).strides
    return bool(strides[0] < strides[1])


@pytest.mark.usefixtures("fast")
def test_results_and_parameters_stay_and_columns_become_contiguous() -> None:
    model = Layers()
    ids = mx.array([[3, 1, 49]])

    def results() -> list[mx.array]:
        x = model.embedding(ids)
        pages = mx.ones((2, weight_layout.PAGE_NUMBERS))
        return [x, model.linear(x), model.embedding.as_linear(x), model.paged(pages)]

    before, sizes = results(), [model.linear.weight.shape, model.linear.weight.nbytes]
    mx.eval(before)
    transpose_weights(model)

    assert [model.linear.weight.shape, model.linear.weight.nbytes] == sizes
    assert is_transposed(model.linear.weight)
    assert is_transposed(model.embedding.weight)
    assert is_transposed(model.paged.weight)
    assert not is_transposed(model.large.weight)
    assert not is_transposed(model.wide.weight)
    assert model.narrow.weight.dtype == mx.bfloat16
    assert all(mx.allclose(a, b, atol=1e-5) for a, b in zip(before, results(), strict=True))


def test_weights_stay_as_they_are_without_a_fast_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_layout, "in_use", lambda: InUse(slow="MLXWIRE_BLAS is off"))
    model = Layers()

    transpose_weights(model)

    assert not is_transposed(model.linear.weight)
