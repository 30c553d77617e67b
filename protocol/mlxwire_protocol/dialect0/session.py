"""Serves the requests of dialect 0 one at a time; the others wait (SPEC §7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ..codec import encode
from ..commands import command_name
from ..errors import SHOWN_CHARACTERS, WireError
from ..events import Accepted, Answer, Event
from ..messages import Cancel, Command, Quit
from . import translation

BACKLOG_BYTES = 64 * 1024 * 1024
"""The largest total size of the waiting requests; each counts its line and ``_ENTRY_BYTES``."""
_ENTRY_BYTES = 1024


class _Waiting(NamedTuple):
    command_name: str | None
    entry: Command | WireError
    size: int


class Dialect0Session:
    """Queues requests without ids, and encodes their replies in dialect 0's shapes."""

    def __init__(self) -> None:
        self.in_flight: dict[str, Command] = {}
        self._count = 0
        self._running: str | None = None
        self._encoder: translation.Encoder | None = None
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._starting = False

    def receive_object(self, fields: dict[str, Any], line_bytes: int) -> Iterator[Event]:
        """Take one parsed request from a line of ``line_bytes`` bytes; yield what can start."""
        name = fields.get("cmd")
        name = name[:SHOWN_CHARACTERS] if isinstance(name, str) else None
        if fields.get("id") is not None:
            error = WireError(
                "invalid_request",
                "the request has an `id`, but the first request on this connection had none; leave "
                "`id` out, or start a new worker",
            )
            yield from self._enqueue(name, error)
            return
        self._count += 1
        try:
            command = translation.to_command(fields, f"d0-{self._count}")
        except WireError as error:
            yield from self._enqueue(name, error)
            return
        if isinstance(command, Cancel):
            yield from self._cancel(command)
        elif isinstance(command, Quit):
            self.in_flight[command.id] = command
            yield Accepted(command)
        else:
            yield from self._enqueue(name, command, line_bytes)

    def receive_unreadable(self, error: WireError) -> Iterator[Event]:
        """Queue the error for a line that is no JSON object."""
        yield from self._enqueue(None, error)

    def finished(self, request_id: str) -> Iterator[Event]:
        """Note that a request's final reply is on its way; yield the requests that start now."""
        self.in_flight.pop(request_id, None)
        if request_id == self._running:
            self._running = None
            yield from self._start_waiting()

    def encode_reply(self, reply: msgspec.Struct) -> bytes:
        """Encode a typed reply; `cancel` and `quit` have no reply in dialect 0."""
        if self._encoder is None or getattr(reply, "id", None) != self._running:
            return b""
        return b"".join(map(encode, self._encoder.lines(reply)))

    def encode_token(self, text: str, token_id: int) -> bytes:
        """Encode one plain token; return the line of the token before it, if there is one."""
        if self._encoder is None:
            return b""
        return b"".join(map(encode, self._encoder.token(text, token_id, flush=False)))

    def _cancel(self, command: Cancel) -> Iterator[Event]:
        """Cancel the running stream; ignore a cancel without one, as dialect 0's hosts expect."""
        running = self._running
        if running is None or command_name(self.in_flight[running]) not in translation.STREAMS:
            return
        self.in_flight[command.id] = command
        yield Accepted(msgspec.structs.replace(command, target=running))

    def _enqueue(
        self, name: str | None, entry: Command | WireError, line_bytes: int = 0
    ) -> Iterator[Event]:
        """Queue a request or an error: answers come strictly in the order of the requests."""
        size = line_bytes + _ENTRY_BYTES
        if self._running is not None and self._waiting_bytes + size > BACKLOG_BYTES:
            full = WireError(
                "overloaded",
                f"too many requests wait: they have {self._waiting_bytes} bytes, and the largest "
                f"accepted total is {BACKLOG_BYTES} bytes. Read the answers before sending more",
            )
            yield Answer(encode(translation.error_line(name, full)))
            return
        self._waiting.append(_Waiting(name, entry, size))
        self._waiting_bytes += size
        yield from self._start_waiting()

    def _start_waiting(self) -> Iterator[Event]:
        """Start waiting requests while none runs.

        A request may finish while the caller handles its event. The loop that is already running
        then continues with the next request, so a long queue does not nest calls.
        """
        if self._starting:
            return
        self._starting = True
        try:
            while self._running is None and self._waiting:
                name, entry, size = self._waiting.popleft()
                self._waiting_bytes -= size
                if isinstance(entry, WireError):
                    yield Answer(encode(translation.error_line(name, entry)))
                    continue
                self._running = entry.id
                self._encoder = translation.Encoder(entry)
                self.in_flight[entry.id] = entry
                yield Accepted(entry)
        finally:
            self._starting = False
