"""Splits a byte stream into lines at byte 0x0A and nothing else (SPEC §1).

Sans-IO: bytes go in as they arrive, whole lines come out. A line longer than the limit is
discarded up to its end and reported once, so one bad line does not end the connection.
"""

from __future__ import annotations

from msgspec import Struct

DEFAULT_MAX_LINE_BYTES = 16 * 1024 * 1024
PREFIX_BYTES = 512
"""The bytes of a discarded line that are kept, so that its id can be recovered."""
_BLANK = b" \t\r"
"""The white space of JSON within a line; a line of only these bytes is blank."""


class Overlong(Struct, frozen=True):
    """A line longer than the limit: its first ``PREFIX_BYTES``, enough to find an id in."""

    prefix: bytes


Line = bytes | Overlong


class LineSplitter:
    """Splits arbitrary chunks into lines without their terminator.

    A trailing 0x0D is stripped and blank lines are dropped. ``max_line_bytes`` counts the
    line's bytes without its terminator (neither 0x0A nor the stripped 0x0D).
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._discarding = False

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next bytes and return the lines that they complete, in order."""
        pieces = chunk.split(b"\n")
        if len(pieces) == 1:
            self._hold(chunk)
            return []
        lines: list[Line] = []
        self._hold(pieces[0])
        self._finish(lines)
        for piece in pieces[1:-1]:
            self._take(piece, lines)
        self._hold(pieces[-1])
        return lines

    def end(self) -> Line | None:
        """Return the unterminated last line at the end of the stream, None if there is none."""
        lines: list[Line] = []
        self._finish(lines)
        return lines[0] if lines else None

    def _hold(self, piece: bytes) -> None:
        """Append to the unfinished line; keep only the prefix of one that is too long.

        One byte more than each limit is kept, because a trailing 0x0D does not count.
        """
        if self._discarding:
            piece = piece[: PREFIX_BYTES + 1 - len(self._tail)]
        self._tail += piece
        if not self._discarding and len(self._tail) > self.max_line_bytes + 1:
            self._discarding = True
            del self._tail[PREFIX_BYTES + 1 :]

    def _finish(self, lines: list[Line]) -> None:
        line = bytes(self._tail)
        self._tail.clear()
        self._take(line, lines, overlong=self._discarding)
        self._discarding = False

    def _take(self, line: bytes, lines: list[Line], *, overlong: bool = False) -> None:
        """Append one whole line to ``lines``, or the prefix of one that is too long."""
        if line.endswith(b"\r"):
            line = line[:-1]
        if overlong or len(line) > self.max_line_bytes:
            lines.append(Overlong(line[:PREFIX_BYTES]))
        elif line.strip(_BLANK):
            lines.append(line)
