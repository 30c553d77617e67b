"""Keep the end of a worker's stderr in bounded memory, and hand its lines to a listener.

The ring holds bytes, not lines, so output without newlines can't make it grow (docs/lessons.md 10).
"""

from __future__ import annotations

from collections.abc import Callable

DEFAULT_RING_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024
"""Longest piece that the listener gets; a longer line is cut into such pieces."""


class StderrRing:
    """Keeps the last ``limit`` bytes, and calls ``on_line`` with each line less its newline."""

    def __init__(
        self, limit: int = DEFAULT_RING_BYTES, on_line: Callable[[str], None] | None = None
    ) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._on_line = on_line
        self._partial = b""

    def feed(self, chunk: bytes) -> None:
        """Add bytes that have just been read."""
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
        """Hand on an unfinished last line; to be called at the end of stderr."""
        partial, self._partial = self._partial, b""
        if partial:
            self._emit(partial)

    def text(self, max_bytes: int | None = None) -> str:
        """Return the kept bytes as text, at most the last ``max_bytes``; replace invalid UTF-8."""
        tail = self._kept if max_bytes is None else self._kept[-max_bytes:]
        return tail.decode("utf-8", "replace")

    def _emit(self, line: bytes) -> None:
        assert self._on_line is not None
        for start in range(0, max(1, len(line)), MAX_LINE_BYTES):
            piece = line[start : start + MAX_LINE_BYTES]
            self._on_line(piece.removesuffix(b"\r").decode("utf-8", "replace"))
