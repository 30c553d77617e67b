"""Faults of one message: converts a reply to the lines that are written instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import orjson

from .script import Burst, Change, Drop, Insert, Pad, Part, Repeat, ReplyFault, Rewrite

BURST_LINES = 4096
"""The number of a burst's tokens that are written at once."""


class Edit:
    """One reply to be written: its message, the lines before and after it, and the repeats."""

    def __init__(
        self,
        message: dict[str, Any],
        next_seq: int,
        max_line_bytes: int,
        token: Callable[[int], bytes],
    ) -> None:
        """Create an edit; ``token`` returns the line of one more token with the given `seq`."""
        self.message = message
        self._next_seq = next_seq
        self._token = token
        self._max_line_bytes = max_line_bytes
        self._before: list[Insert | Burst] = []
        self._after: list[Insert] = []
        self._times = 1
        self._rewrites: list[Rewrite] = []

    def apply(self, fault: ReplyFault) -> None:
        """Apply a fault of a message; faults of the process are ignored here."""
        match fault:
            case Change():
                self.message.update(fault.set)
                for field in fault.remove:
                    self.message.pop(field, None)
            case Pad():
                empty = len(orjson.dumps({**self.message, "padding": ""}))
                room = self._max_line_bytes + fault.over - empty
                self.message["padding"] = "x" * room
            case Drop():
                self._times = 0
            case Repeat():
                self._times += fault.times
            case Insert(after=True):
                self._after.append(fault)
            case Insert() | Burst():
                self._before.append(fault)
            case Rewrite():
                self._rewrites.append(fault)

    def chunks(self) -> Iterator[bytes]:
        """Yield the lines to write, one or several per chunk."""
        for fault in self._before:
            yield from self._burst(fault) if isinstance(fault, Burst) else self._inserted(fault)
        line = self.line()
        for _ in range(self._times):
            yield line
        for fault in self._after:
            yield from self._inserted(fault)

    def line(self) -> bytes:
        """Return the reply's line. Raises: ValueError if a text to rewrite is not in it."""
        line = orjson.dumps(self.message, option=orjson.OPT_APPEND_NEWLINE)
        for fault in self._rewrites:
            old = fault.old.encode()
            if old not in line:
                raise ValueError(
                    f"`rewrite`: `old` is {fault.old!r}, which is not in the line {line[:200]!r}; "
                    "give a part of that line"
                )
            line = line.replace(old, _bytes_of(fault.new), 1)
        return line

    def _inserted(self, fault: Insert) -> Iterator[bytes]:
        for _ in range(fault.times):
            named = {"$id": self.message.get("id"), "$seq": self._next_seq}
            message = {
                field: named.get(value, value) if isinstance(value, str) else value
                for field, value in fault.message.items()
            }
            yield orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)

    def _burst(self, fault: Burst) -> Iterator[bytes]:
        lines = map(self._token, range(self._next_seq, self._next_seq + fault.tokens))
        while chunk := b"".join(islice(lines, BURST_LINES)):
            yield chunk
        if "tokens_generated" in self.message:
            self.message["tokens_generated"] += fault.tokens


def _bytes_of(text: str | Part) -> bytes:
    return text.encode() if isinstance(text, str) else b"".join(text.chunks())
