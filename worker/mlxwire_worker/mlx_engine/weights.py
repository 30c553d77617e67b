"""The weights of a built model: its arrays, read from disk, and the BLAS threads for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..engine import ProgressReport
from .cache.kv import CachePolicy
from .mlx_patches.blas import in_use, most_threads
from .sequences.warmup import largest_matrix, measure_product, measure_step

LARGE_BYTES = 128 << 20
"""Weights from which several BLAS threads help, where nothing was measured."""
HUGE_BYTES = 1 << 30
"""Weights from which no step is measured, since one takes long; a product tells enough."""


def materialize(model: Any, report: ProgressReport) -> None:
    """Read the weights, reporting bytes as they come, and evaluate every other array too.

    Arrays that are no parameters (the frequencies of scaled RoPE) stay lazy in mlx-lm and can
    then be evaluated by this thread alone (engine-notes §1).
    """
    arrays = parameters(model)
    total = sum(array.nbytes for array in arrays)
    done = 0
    report("load", 0, total)
    for group in _groups(arrays, max(total // 20, 1 << 24)):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report("load", done, total)
    mx.eval([array for module in model.modules() for array in _private_arrays(module)])


def choose_blas_threads(model: Any, policy: CachePolicy, *, measure: bool) -> int:
    """Choose the number of the BLAS's threads for a model; return it, 0 without such a BLAS.

    Without ``measure``, which computes parts of the model, the size of the weights decides.
    """
    threads = in_use().threads
    if threads is None:
        return 0
    size = weight_bytes(model)
    matrix = largest_matrix(model)
    if matrix is None:
        threads.set(1)  # MLX takes the products of other dtypes from no BLAS
    elif not measure:
        threads.set(most_threads() if size >= LARGE_BYTES else 1)
    elif size >= HUGE_BYTES:
        threads.choose([lambda: measure_product(matrix)])
    else:
        threads.choose([lambda: measure_product(matrix), lambda: measure_step(model, policy)])
    return int(threads.count)


def parameters(model: Any) -> list[mx.array]:
    """Return all parameters of a model."""
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def weight_bytes(model: Any) -> int:
    """Return the bytes of all parameters as they are held."""
    return sum(array.nbytes for array in parameters(model))


def quantized_modules(model: Any) -> list[Any]:
    """Return the modules whose weights are quantized."""
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]


def _private_arrays(module: nn.Module) -> Iterator[mx.array]:
    for value in vars(module).values():
        if isinstance(value, mx.array):
            yield value
    for value in module.values():
        if isinstance(value, mx.array):
            yield value


def _groups(arrays: list[mx.array], size: int) -> Iterator[list[mx.array]]:
    group: list[mx.array] = []
    held = 0
    for array in arrays:
        group.append(array)
        held += array.nbytes
        if held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group
