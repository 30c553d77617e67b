"""Cuts the rows of a set into the batches of each step, as a pure function of seed and step.

The order is that of mlx-lm's trainer: rows in groups by their place in the file, and the groups
shuffled anew in each epoch. Rows that fill no group are left out, others in each epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rows import Row

_WIDTHS = 32
"""Batches have one token more than a multiple of this, so that few shapes occur."""
Ints = NDArray[np.int32]


class Batch(NamedTuple):
    """Some rows side by side: ids [rows, width], padded with zeros, and spans [rows, 2].

    A span has the places of a row's first and last token to learn; ``targets`` counts them all.
    """

    ids: Ints
    spans: Ints
    targets: int


def make_batch(rows: list[Row], longest: int, *, learns_end: bool) -> Batch:
    """Put rows into one batch of at most ``longest`` tokens a row.

    With ``learns_end`` the padding right after a row is learned too, as mlx-lm does (0.32.2), so
    that losses can be compared with its own.
    """
    lengths = [len(row.ids) for row in rows]
    width = min(1 + _WIDTHS * -(-max(lengths) // _WIDTHS), longest)
    ids = np.zeros((len(rows), width), np.int32)
    spans = np.zeros((len(rows), 2), np.int32)
    for place, row in enumerate(rows):
        ids[place, : lengths[place]] = row.ids
        last = lengths[place] if learns_end else lengths[place] - 1
        spans[place] = max(row.masked, 1), min(last, width - 1)
    return Batch(ids, spans, int((spans[:, 1] - spans[:, 0] + 1).sum()))


def in_order(rows: list[Row], size: int, longest: int, *, learns_end: bool) -> Iterator[Batch]:
    """Yield all rows in batches of at most ``size``, in their order."""
    for start in range(0, len(rows), size):
        yield make_batch(rows[start : start + size], longest, learns_end=learns_end)


class Batches:
    """The batches of a training. A step takes ``size`` · ``accumulation`` rows."""

    def __init__(
        self, rows: list[Row], size: int, accumulation: int, *, seed: int, longest: int
    ) -> None:
        self._rows = rows
        self._size = size
        self._group = size * accumulation
        self._longest = longest
        self._random = np.random.RandomState(seed % 2**32)
        self._orders: list[NDArray[np.int64]] = []
        self.steps_an_epoch = len(rows) // self._group

    def of_step(self, step: int) -> list[Batch]:
        """Return the batches of a step, counted from 0; together they are one group of rows."""
        epoch, place = divmod(step, self.steps_an_epoch)
        while len(self._orders) <= epoch:
            self._orders.append(self._random.permutation(self.steps_an_epoch))
        first = int(self._orders[epoch][place]) * self._group
        first += epoch * (len(self._rows) % self._group)  # others are left out in each epoch
        rows = [self._rows[(first + each) % len(self._rows)] for each in range(self._group)]
        return [
            make_batch(rows[start : start + self._size], self._longest, learns_end=True)
            for start in range(0, self._group, self._size)
        ]
