"""A model that is called with the rows of a pass, so that each computes with its own adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx

from ..cache.kv import Layers
from .slots import AdapterSlots


class RowModel:
    """A model and the adapters beside it; without ``slots`` no row has an adapter."""

    def __init__(self, model: Any, slots: AdapterSlots | None = None) -> None:
        self._model = model
        self._slots = slots

    def __call__(self, ids: mx.array, rows: Iterable[Any], cache: Layers) -> Any:
        """Return the logits [B, T, V] of ids [B, T]; ``rows`` are `AdapterInUse` or None, one each."""
        if self._slots is None or self._slots.empty:
            return self._model(ids, cache=cache)
        with self._slots.rows(rows):
            return self._model(ids, cache=cache)

    def alike(self, use: Any) -> Callable[..., Any]:
        """Return the model as it computes with one adapter for all rows."""

        def compute(ids: mx.array, *, cache: Layers) -> Any:
            return self(ids, [use] * ids.shape[0], cache)

        return compute
