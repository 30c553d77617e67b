"""Ends a worker whose last lines stay unread, and no other: a slow host gets all of them."""

from __future__ import annotations

import os
import time

from .writer import Writer

EXIT_UNREAD = 5
_MOST_SECONDS = 0.25
"""The most that the time between two checks counts: a worker that was stopped did not wait."""


class Patience:
    """Waits as long as the host reads, and ``seconds`` without any progress."""

    def __init__(self, writer: Writer, seconds: float) -> None:
        self._writer = writer
        self._seconds = seconds
        self._progress: tuple[int, int] | None = None
        self._still = 0.0
        self._checked = time.monotonic()

    def check(self) -> None:
        """Exit 5 if lines wait and the host has taken none of them for ``seconds``.

        Call it at least every quarter of a second while the worker waits for its host.
        """
        now, progress = time.monotonic(), self._writer.progress()
        if progress is None or progress != self._progress:
            self._still = 0.0
        else:
            self._still += min(now - self._checked, _MOST_SECONDS)
            if self._still >= self._seconds:
                os._exit(EXIT_UNREAD)
        self._progress, self._checked = progress, now
