"""Says which adapter computes each row of the pass that is being built.

A pass is built by one call of the model, on the engine's thread: the layers read the slots of its
rows meanwhile. What they read is part of the lazy arrays, so the pass may be evaluated later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx

BASE = 0
"""The slot of the model alone."""


class PassSlots:
    """The slots of the rows of a pass; without any, the layers compute the model alone.

    ``index`` are the slots as uint32 [B], None between passes and where no row has an adapter.
    ``single`` is the slot of all rows, None if they differ.
    """

    __slots__ = ("index", "rows", "single")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.index: mx.array | None = None
        self.rows: Sequence[int] = ()
        self.single: int | None = BASE

    @contextmanager
    def of(self, rows: Sequence[int]) -> Iterator[None]:
        """Build a pass of rows with these slots."""
        before = self.index, self.rows, self.single
        if any(rows):
            self.index = mx.array(list(rows), dtype=mx.uint32)
            self.rows = rows
            self.single = rows[0] if len(set(rows)) == 1 else None
        else:
            self._forget()
        try:
            yield
        finally:
            self.index, self.rows, self.single = before
