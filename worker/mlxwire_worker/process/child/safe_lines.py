"""Keeps the last lines of a program's stderr that can't quote what the program reads.

An error of a training names them. A message of an exception may quote a row of data, so of such a
line the class of the exception alone is kept.
"""

from __future__ import annotations

import re
from collections import deque

MOST_LINES = 20
MOST_CHARACTERS = 200
_MOST_WAITING = 1 << 16
"""The bytes of a line without its end that are kept."""

_SAFE = re.compile(
    r"""Traceback\ \(most\ recent\ call\ last\):
    | \s*File\ "[^"]*",\ line\ \d+(,?\ in\ [\w.<>]+)?
    | (Fatal\ Python\ error|Current\ thread|Thread)\b.*
    | Extension\ modules:.*
    | mlxwire-worker\[\d+\]:\ .*
    | terminate\ called\b.*
    | libc\+\+abi:.*
    | (\s*what\(\):\s+|)(\[[\w:]+\]\ |std::bad_alloc).*
    """,
    re.VERBOSE,
)
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning))\b")


class SafeLines:
    """The last lines of stderr that are safe to show."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._unended = b""

    def add(self, chunk: bytes) -> None:
        """Take bytes as they come."""
        *whole, self._unended = (self._unended + chunk).split(b"\n")
        self._unended = self._unended[:_MOST_WAITING]
        for line in whole:
            self._take(line)

    def last(self) -> list[str]:
        """Return the lines, oldest first, with the one that has not ended."""
        self._take(self._unended)
        self._unended = b""
        return list(self._lines)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if _SAFE.fullmatch(text):
            self._lines.append(text[:MOST_CHARACTERS])
        elif named := _EXCEPTION.match(text):
            self._lines.append(named.group(1)[:MOST_CHARACTERS])
