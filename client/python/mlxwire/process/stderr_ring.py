"""The tail of a worker's stderr in bounded memory, and its lines for whoever listens.

A byte ring, not a line ring: output without a newline may not grow it (lesson 10).
"""

from __future__ import annotations

from collections.abc import Callable

DEFAULT_RING_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024
"""A longer line is handed to the listener in pieces of this size."""


class StderrRing:
    """Keeps the last ``limit`` bytes; calls ``on_line`` for each line, without its end."""

    def __init__(
        self, limit: int = DEFAULT_RING_BYTES, on_line: Callable[[str], None] | None = None
    ) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._on_line = on_line
        self._partial = b""

    def feed(self, chunk: bytes) -> None:
        """Take bytes as they arrive."""
        self._kept += chunk
        del self._kept[: -self._limit]
        if self._on_line is not None:
            *lines, rest = (self._partial + chunk).split(b"\n")
            for line in lines:
                self._emit(line)
            while len(rest) > MAX_LINE_BYTES:
                self._emit(rest[:MAX_LINE_BYTES])
                rest = rest[MAX_LINE_BYTES:]
            self._partial = rest

    def end(self) -> None:
        """No more will come: an unfinished line is a line now."""
        partial, self._partial = self._partial, b""
        if partial:
            self._emit(partial)

    def text(self, max_bytes: int | None = None) -> str:
        """The tail as text; bytes that are no UTF-8, such as a cut character, are replaced."""
        tail = self._kept if max_bytes is None else self._kept[-max_bytes:]
        return tail.decode("utf-8", "replace")

    def _emit(self, line: bytes) -> None:
        assert self._on_line is not None
        for start in range(0, max(1, len(line)), MAX_LINE_BYTES):
            piece = line[start : start + MAX_LINE_BYTES]
            self._on_line(piece.removesuffix(b"\r").decode("utf-8", "replace"))
