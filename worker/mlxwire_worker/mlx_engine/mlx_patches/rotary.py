"""Computes a step's rotary cosines and sines once for all layers of a model on a CPU.

Replaces `__call__` of `mlx.nn.RoPE` (mlx 0.32.4) and `mlx_lm.models.rope_utils.Llama3RoPE` (mlx-lm
0.32.2). MLX has no CPU kernel for `mx.fast.rope`: each layer computes the cosines and sines again
for its queries and its keys, in nine operations each time, a fifth of a decode step of the tiny
model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.models.rope_utils import Llama3RoPE

Rotate = Callable[..., mx.array]


class RotationTable:
    """Caches the rotation factors of the positions that were asked for last.

    The factors come from MLX's own rotation of a unit vector, so they are the same bit for bit.
    """

    def __init__(self, rotate: Rotate, dims: int) -> None:
        self._rotate = rotate
        self._dims = dims
        self._offset: int | mx.array | None = None
        self._shape: tuple[int, mx.Dtype] | None = None
        self._factors: tuple[mx.array, mx.array]

    def factors(
        self, length: int, offset: int | mx.array, dtype: mx.Dtype
    ) -> tuple[mx.array, mx.array]:
        """Return the factors of a vector and of the vector with its halves exchanged.

        Both have the shape [rows, 1, length, dims] and the given dtype, for ``length`` positions
        from ``offset`` on. Offsets in an array [rows] count as equal only if the array is the same
        object: reading its values would stall the device.
        """
        same = offset is self._offset or (
            isinstance(offset, int) and isinstance(self._offset, int) and offset == self._offset
        )
        if not same or self._shape != (length, dtype):
            rows = 1 if isinstance(offset, int) else offset.size
            half = (rows, 1, length, self._dims // 2)
            unit = mx.concatenate([mx.ones(half, dtype), mx.zeros(half, dtype)], axis=-1)
            cosines, sines = mx.split(self._rotate(unit, offset=offset), 2, axis=-1)
            self._factors = (
                mx.concatenate([cosines, cosines], axis=-1),
                mx.concatenate([-sines, sines], axis=-1),
            )
            self._offset, self._shape = offset, (length, dtype)
        return self._factors


class _Tabled(nn.Module):  # type: ignore[misc]
    """A rotary module that uses a shared table, or its own method for another width."""

    table: RotationTable
    dims: int

    def __call__(self, x: mx.array, offset: Any = 0) -> mx.array:
        if x.shape[-1] != self.dims:
            own: Any = super()
            rotated: mx.array = own.__call__(x, offset)
            return rotated
        direct, exchanged = self.table.factors(x.shape[-2], offset, x.dtype)
        half = self.dims // 2
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
        return x * direct + swapped * exchanged


class _TabledRoPE(_Tabled, nn.RoPE):  # type: ignore[misc]
    pass


class _TabledLlama3RoPE(_Tabled, Llama3RoPE):  # type: ignore[misc]
    pass


def share_tables(model: nn.Module) -> None:
    """Let a model's layers share rotation tables, if MLX computes on the CPU.

    The results are the same bit for bit. The modules' own arrays must have been evaluated, and
    the model must not be traced by `mx.compile` afterwards: a table would outlive the trace.
    """
    if mx.default_device() != mx.cpu:
        return
    tables: dict[object, RotationTable] = {}
    for rope in model.modules():
        if type(rope) is nn.RoPE and not rope.traditional:
            rope.__class__ = _TabledRoPE
            rope.table = _table(tables, rope.dims, rope.base, rope.scale, None)
        elif type(rope) is Llama3RoPE and not rope.traditional:
            rope.__class__ = _TabledLlama3RoPE
            rope.table = _table(tables, rope.dims, None, 1.0, rope._freqs)


def _table(
    tables: dict[object, RotationTable],
    dims: int,
    base: float | None,
    scale: float,
    freqs: mx.array | None,
) -> RotationTable:
    """Return the table for these parameters; create it if ``tables`` has none yet."""
    values: Any = None if freqs is None else freqs.tolist()
    key = dims, base, scale, values and tuple(values)
    if key not in tables:
        rotate = partial(
            mx.fast.rope, dims=dims, traditional=False, base=base, scale=scale, freqs=freqs
        )
        tables[key] = RotationTable(rotate, dims)
    return tables[key]
