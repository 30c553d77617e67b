"""Sets how many threads a BLAS may use, and chooses the number by measuring.

More threads help large matrices only, and only while a processor is idle for each of them: they
wait for the slowest of them at each product. With two threads on two busy processors a product of 0.2 ms
took 16 ms. They also take the processors from the thread that prepares the next step.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

from ....process.system_share import processors

ROUNDS = 2
"""How often each number of threads is measured; the shortest time counts."""
HOPELESS = 2.0
"""A time that is so many times too long is not measured again."""
GAIN = 1.15
"""How much faster more threads must be: they also take processors from other work."""
_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


class ThreadControl:
    """The number of threads of one opened library; ``can_set`` is False for an unknown BLAS."""

    def __init__(self, library: ctypes.CDLL, prefix: str) -> None:
        found: Any = getattr(library, f"{prefix}openblas_set_num_threads", None)
        self._set = found
        self.can_set = found is not None
        self.count = 0
        self.set(1)

    def set(self, count: int) -> None:
        """Let the library use ``count`` threads from its next product on."""
        if self._set is not None:
            self._set(ctypes.c_int(count))
            self.count = count

    def choose(self, measures: Sequence[Callable[[], float]]) -> None:
        """Set the number of threads with which every measure, in seconds, is clearly the shortest.

        Give cheap measures first: the first one that gains nothing from more threads ends the
        search. On a machine whose processors are busy a step with two threads can take a hundred
        times as long as with one, because a thread that waits for its turn stops all others.
        """
        if not self.can_set or most_threads() == 1:
            return
        best, shortest = 1, [inf] * len(measures)
        for count in _numbers(most_threads()):
            self.set(count)
            seconds = list(_gains(measures, shortest))
            if len(seconds) < len(measures):
                break
            best, shortest = count, seconds
        self.set(best)


def _gains(measures: Sequence[Callable[[], float]], before: list[float]) -> Iterator[float]:
    """Yield each measure's shortest time, up to the first that is not clearly below ``before``."""
    for measure, known in zip(measures, before, strict=True):
        wanted = known / GAIN
        fastest = inf
        for _ in range(ROUNDS):
            fastest = min(fastest, measure())
            if fastest > HOPELESS * wanted:
                return
        if fastest > wanted:
            return
        yield fastest


def most_threads() -> int:
    """Return the most threads that are worth trying: the share of this process, or a user's limit."""
    limits = [os.environ.get(name, "") for name in _LIMITS]
    numbers = [int(limit) for limit in limits if limit.isascii() and limit.isdigit()]
    return min([processors(), *filter(None, numbers)])


def _numbers(most: int) -> Iterator[int]:
    """Yield 1, 2, 4, … up to and including ``most``."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most
