"""Computes layers anew in the backward pass, which takes less memory, and seeds their dropout.

mlx-lm replaces the method of the layers' class, for good and for every model. Here each layer
becomes an instance of a class of its own, derived from its class, as long as the block lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

_NUMBERS = 1 << 20
"""More than the layers of any model: seeds of two batches must differ for all layers."""


class Seeds:
    """The seed of the dropout in each layer, which a second computation of the layer needs too."""

    def __init__(self) -> None:
        self._of_batch = 0

    def begin(self, seed: int, number: int) -> None:
        """Begin the batch of a number; it and the run's seed choose what is dropped."""
        self._of_batch = ((seed << 32) + number) * _NUMBERS
        self._sow(_NUMBERS - 1)  # for modules outside the layers

    def sow(self, layer: int) -> int:
        """Seed one layer of the batch, and return the seed."""
        return self._sow(layer)

    def _sow(self, layer: int) -> int:
        seed = (self._of_batch + layer) % 2**64
        mx.random.seed(seed)
        return seed


@contextmanager
def checkpointed(layers: list[Any], seeds: Seeds, *, recompute: bool) -> Iterator[None]:
    """Seed each layer's dropout within the block; with ``recompute`` keep only its inputs.

    A layer that stands in the list twice is treated once. Afterwards all are as they were.
    """
    kinds = {id(layer): (layer, type(layer)) for layer in layers}
    try:
        for number, (layer, kind) in enumerate(kinds.values()):
            layer.__class__ = _derived(kind, number, seeds, recompute=recompute)
        yield
    finally:
        for layer, kind in kinds.values():
            layer.__class__ = kind


def _derived(kind: type, number: int, seeds: Seeds, *, recompute: bool) -> type:
    """Return a class that computes as ``kind`` does, for the layer of a number."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        seed = seeds.sow(number)
        if not recompute or not self.training:
            return kind.__call__(self, *args, **kwargs)

        def compute(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            self.update(parameters)
            mx.random.seed(seed)  # the same when it is computed anew
            return kind.__call__(self, *args, **kwargs)

        return mx.checkpoint(compute)(self.trainable_parameters(), *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
