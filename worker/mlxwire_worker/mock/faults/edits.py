"""Faults of a message's meaning and bytes: from one reply to what is written in its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from .script import Burst, Change, Drop, Insert, Pad, Part, Repeat, ReplyFault, Rewrite

BURST_LINES = 4096
"""Tokens of a burst that are written at once."""


class Edit:
    """One reply on its way out: its message, what comes before and after, and how often."""

    def __init__(self, message: dict[str, Any], next_seq: int, max_line_bytes: int) -> None:
        self.message = message
        self._next_seq = next_seq
        self._max_line_bytes = max_line_bytes
        self._before: list[Insert | Burst] = []
        self._after: list[Insert] = []
        self._times = 1
        self._rewrites: list[Rewrite] = []

    def apply(self, fault: ReplyFault) -> None:
        """Take a fault of a message; those of the process are not its business."""
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
        """Whole lines to write, some at a time."""
        for fault in self._before:
            yield from self._burst(fault) if isinstance(fault, Burst) else self._inserted(fault)
        line = self.line()
        for _ in range(self._times):
            yield line
        for fault in self._after:
            yield from self._inserted(fault)

    def line(self) -> bytes:
        """The reply itself. Raises: ValueError where there is nothing to rewrite."""
        line = orjson.dumps(self.message, option=orjson.OPT_APPEND_NEWLINE)
        for fault in self._rewrites:
            old = fault.old.encode()
            if old not in line:
                raise ValueError(f"`rewrite`: {fault.old!r} is not in {line[:200]!r}")
            line = line.replace(old, _bytes_of(fault.new), 1)
        return line

    def _inserted(self, fault: Insert) -> Iterator[bytes]:
        for _ in range(fault.times):
            named = {"$id": self.message["id"], "$seq": self._next_seq}
            message = {
                field: named.get(value, value) if isinstance(value, str) else value
                for field, value in fault.message.items()
            }
            yield orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)

    def _burst(self, fault: Burst) -> Iterator[bytes]:
        request_id = self.message["id"]
        lines = (
            b'{"id":"%s","type":"token","seq":%d,"token":"x","token_id":1}\n'
            % (request_id.encode(), seq)
            for seq in range(self._next_seq, self._next_seq + fault.tokens)
        )
        while chunk := b"".join(islice(lines, BURST_LINES)):
            yield chunk
        if "tokens_generated" in self.message:
            self.message["tokens_generated"] += fault.tokens


def _bytes_of(text: str | Part) -> bytes:
    return text.encode() if isinstance(text, str) else b"".join(text.chunks())
