"""An adapter as it was read from a folder, before a slot of the model holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """An adapter's addition to one module: ``scale`` · x · ``a`` · ``b``, with DoRA's ``magnitude``.

    Shapes: of a linear layer ``a`` [in, r] and ``b`` [r, out]; of an embedding ``a`` [vocabulary, r]
    and ``b`` [r, dimensions]; of a layer of experts ``a`` [experts, r, in] and ``b`` [experts, out, r],
    as mlx-lm stores them. ``magnitude`` [out] is DoRA's, None with LoRA.
    """

    a: mx.array
    b: mx.array
    scale: float
    magnitude: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """Return the arrays that a file holds of this module."""
        return [self.a, self.b, *([] if self.magnitude is None else [self.magnitude])]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter, whose ``modules`` are keyed by their paths in the model.

    ``rank`` and ``scale`` are the largest of its modules.
    """

    path: Path
    format: Literal["mlx", "peft"]
    method: Literal["lora", "dora"]
    rank: int
    scale: float
    modules: dict[str, AdapterTensors]

    @property
    def parameters(self) -> int:
        """Return how many numbers it has."""
        return sum(array.size for each in self.modules.values() for array in each.arrays)

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes in a slot, whose arrays are float32."""
        return 4 * self.parameters
