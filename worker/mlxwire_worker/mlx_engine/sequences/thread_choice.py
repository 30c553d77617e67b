"""Chooses the number of threads of the BLAS for a model, by computing parts of the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import generation_stream

from ..cache.policy import CachePolicy
from ..mlx_patches.blas import in_use, most_threads

LARGE_BYTES = 128 << 20
"""Weights from which several threads help, where nothing was measured."""
HUGE_BYTES = 1 << 30
"""Weights from which no step is measured, since one takes long; a product tells enough."""
PRODUCT_ROWS, PRODUCTS = 64, 5
"""The rows of a measured product, and how many are computed; the shortest time counts."""
MEASURED_IDS, MEASURED_STEPS = [0] * 16, 2
"""The prompt and the number of decode steps of one measured run."""


def choose_threads(
    model: Any, step: Callable[[], float], weight_bytes: int, *, measure: bool
) -> int:
    """Set the number of threads with which a model is fastest, and return it; 0 if not known.

    ``step`` computes what the model is used for, and returns the seconds that it took. Without
    ``measure`` the size of the weights decides.
    """
    threads = in_use().threads
    if threads is None:
        return 0
    matrix = _largest_matrix(model)
    if matrix is None:
        threads.set(1)  # MLX takes the products of other dtypes from no BLAS
    elif not measure:
        threads.set(most_threads() if weight_bytes >= LARGE_BYTES else 1)
    elif weight_bytes >= HUGE_BYTES:
        threads.choose([lambda: _measure_product(matrix)])
    else:
        threads.choose([lambda: _measure_product(matrix), step])
    return threads.count


def _largest_matrix(model: Any) -> mx.array | None:
    """Return the largest float32 matrix of a model's layers, None if they have none."""
    # Not by the parameters' names: GPT-2 calls its layers `h`.
    flat: Any = tree_flatten([layer.parameters() for layer in getattr(model, "layers", [])])
    matrices = [array for _, array in flat if array.ndim == 2 and array.dtype == mx.float32]
    return max(matrices, key=lambda array: array.size, default=None)


def _measure_product(matrix: mx.array) -> float:
    """Return the seconds that a product of some rows and a float32 matrix takes."""
    rows = mx.zeros((PRODUCT_ROWS, matrix.shape[1]), matrix.dtype)
    mx.eval(rows)
    times = []
    for _ in range(PRODUCTS):
        started = time.perf_counter()
        mx.eval(rows @ matrix.T)
        times.append(time.perf_counter() - started)
    return min(times)


def measure_step(model: Any, policy: CachePolicy) -> float:
    """Return the seconds that a slice of prefill and some decode steps after it take.

    The last tokens come one by one, as in a stream, where the next step is prepared meanwhile.
    """
    layers = policy.make()
    started = time.perf_counter()
    with mx.stream(generation_stream):
        token = mx.argmax(model(mx.array([MEASURED_IDS]), cache=layers)[:, -1], axis=-1)
        mx.async_eval(token)
        for _ in range(MEASURED_STEPS):
            following = mx.argmax(model(token[:, None], cache=layers)[:, -1], axis=-1)
            mx.async_eval(following)
            mx.eval(token)
            token = following
        mx.eval(token)
    return time.perf_counter() - started
