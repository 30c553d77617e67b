"""The worker's end of a connection, sans-IO: lines in, requests and answers out (SPEC §2, §3).

It owns the dialect, the handshake and the ids. It never reads, writes, waits or looks at a
clock; whoever drives it moves the bytes. The client's end is in `client_connection.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .codec import convert_command, encode, encode_token, parse_object, recover_id, valid_id
from .commands import row_of
from .errors import SHOWN_CHARACTERS, WireError
from .events import Accepted, Answer, Event, Greeted, error_reply
from .framing import DEFAULT_MAX_LINE_BYTES, Line, LineSplitter, Overlong
from .messages import Command, Hello
from .replies import HelloResult, Limits, WorkerIdentity
from .version import choose_version

if TYPE_CHECKING:
    from .dialect0_session import Dialect0Session

REMEMBERED_IDS = 4096
INFLIGHT_LINES = 16
"""Requests in flight may have this many times ``max_line_bytes`` together."""

State = Literal["silent", "dialect0", "await_hello", "ready"]
FirstSeen = Literal["object_with_id", "object_without_id", "hello"]

TRANSITIONS: dict[tuple[State, FirstSeen], State] = {
    ("silent", "object_with_id"): "await_hello",
    ("silent", "object_without_id"): "dialect0",
    ("await_hello", "hello"): "ready",
}
"""The dialect is fixed by the first JSON object and never changes."""


class WorkerConnection:
    """What the worker knows of its one client. Thread-safe only under one lock of the caller."""

    def __init__(
        self,
        identity: WorkerIdentity,
        *,
        limits: Limits,
        capabilities: dict[str, Any],
        events: frozenset[str] = frozenset(),
    ) -> None:
        self.state: State = "silent"
        self.limits = limits
        self._identity = identity
        self._capabilities = capabilities
        self._events = events
        self._splitter = LineSplitter(limits.max_line_bytes)
        self._in_flight: dict[str, Command] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._recent: deque[str] = deque(maxlen=REMEMBERED_IDS)
        self._recent_set: set[str] = set()

    @cached_property
    def _dialect0(self) -> Dialect0Session:
        from .dialect0_session import Dialect0Session  # most connections never need it

        return Dialect0Session()

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """Take bytes as they arrive; yields what they amount to, in order."""
        for line in self._splitter.feed(chunk):
            yield from self.receive_line(line)

    def receive_end(self) -> Iterator[Event]:
        """The stream ended: a last line without its 0x0A is still a line."""
        rest = self._splitter.end()
        if rest is not None:
            yield from self.receive_line(rest)

    def receive_line(self, line: Line) -> Iterator[Event]:
        """Take one line."""
        if isinstance(line, Overlong):
            error = WireError(
                "message_too_large",
                f"a line may have {self.limits.max_line_bytes} bytes; send less in one request",
                data={"max_line_bytes": self.limits.max_line_bytes},
            )
            yield from self._unreadable(error, line.prefix)
            return
        try:
            fields = parse_object(line)
        except WireError as error:
            yield from self._unreadable(error, line)
            return
        if self.state == "silent":
            seen: FirstSeen = "object_with_id" if "id" in fields else "object_without_id"
            self.state = TRANSITIONS["silent", seen]
        if self.state == "dialect0":
            yield from self._dialect0.receive_object(fields, len(line))
        else:
            yield from self._object(fields, len(line))

    def finished(self, request_id: str) -> Iterator[Event]:
        """A request's final reply is on its way; a dialect-0 request may now follow."""
        if self.state == "dialect0":
            yield from self._dialect0.finished(request_id)
        elif self._in_flight.pop(request_id, None) is not None:
            self._bytes -= self._sizes.pop(request_id)
            self._remember(request_id)

    def encode_reply(self, reply: msgspec.Struct) -> bytes:
        """A typed reply as the bytes of the dialect in force; may be none.

        Raises: WireError ``message_too_large`` for one that a client would take for an offence.
        """
        if self.state == "dialect0":
            return self._dialect0.encode_reply(reply)
        return self._fitting(encode(reply))

    def encode_token(self, request_id: str, seq: int, text: str, token_id: int) -> bytes:
        """The hot path of `encode_reply`: one plain token, without building its type."""
        if self.state == "dialect0":
            return self._dialect0.encode_token(text, token_id)
        return self._fitting(encode_token(request_id, seq, text, token_id))

    def _fitting(self, line: bytes) -> bytes:
        most = max(self.limits.max_line_bytes, DEFAULT_MAX_LINE_BYTES)
        if len(line) > most:
            raise WireError(
                "message_too_large",
                f"a reply has {len(line)} bytes and a line may have {most}; ask for less at once, "
                "such as no `logits` or fewer tokens",
                data={"max_line_bytes": most},
            )
        return line

    @property
    def in_flight(self) -> list[str]:
        """Ids that still owe their final reply, oldest first."""
        return list(self._owed)

    @property
    def _owed(self) -> dict[str, Command]:
        return self._dialect0.in_flight if self.state == "dialect0" else self._in_flight

    def is_known(self, request_id: str) -> Literal["in_flight", "finished", "unknown"]:
        """What has become of an id, as far as it is remembered."""
        if request_id in self._owed:
            return "in_flight"
        return "finished" if request_id in self._recent_set else "unknown"

    def _object(self, fields: dict[str, Any], size: int) -> Iterator[Event]:
        request_id = fields.get("id")
        if not valid_id(request_id):
            reason = "a string of 1 to 128 bytes, new for each request"
            what = "needs" if "id" not in fields else "has a bad"
            yield self._error(
                None, WireError("invalid_request", f"the request {what} `id`: send {reason}")
            )
            return
        assert isinstance(request_id, str)
        if not isinstance(fields.get("cmd"), str):
            error = WireError("invalid_request", "the request needs `cmd`, a command's name")
            yield self._error(None, error)
            return
        if self.is_known(request_id) != "unknown":
            error = WireError(
                "duplicate_id",
                f"id {request_id!r} was already used on this connection; the first request "
                "with it is not touched. Use a new id for each request",
            )
            yield self._error(request_id, error)
            return
        self._remember(request_id)
        try:
            yield from self._serve(request_id, fields, size)
        except WireError as error:
            yield self._error(request_id, error)

    def _serve(self, request_id: str, fields: dict[str, Any], size: int) -> Iterator[Event]:
        is_hello = fields["cmd"] == "hello"
        if self.state == "await_hello" and not is_hello:
            raise WireError(
                "not_initialized",
                'say hello first: {"id": "h", "cmd": "hello", "protocols": [1]}',
            )
        if self.state == "ready" and is_hello:
            raise WireError("invalid_request", "hello was already said; send it once")
        command = convert_command(fields)
        if isinstance(command, Hello):
            yield self._greet(command)
            return
        if row_of(command).lane != "at_once":
            self._check_load(size)
        self._in_flight[request_id] = command
        self._sizes[request_id] = size
        self._bytes += size
        yield Accepted(command)

    def _check_load(self, size: int) -> None:
        """Raises: WireError ``overloaded`` past the number or the bytes of requests in flight."""
        count, budget = len(self._in_flight), INFLIGHT_LINES * self.limits.max_line_bytes
        data: dict[str, Any] = {}
        if count >= self.limits.max_inflight:
            data = {"max_inflight": self.limits.max_inflight}
        elif self._bytes + size > budget:
            data = {"max_inflight_bytes": budget}
        if data:
            raise WireError(
                "overloaded",
                f"{count} requests of {self._bytes} bytes are in flight, the most this worker "
                "takes; wait for one to finish and send this again",
                data=data,
            )

    def _greet(self, hello: Hello) -> Greeted:
        protocol = choose_version(hello.protocols)
        have = {name for name, value in self._capabilities.items() if value is not False}
        missing = [name[:SHOWN_CHARACTERS] for name in hello.require if name not in have]
        if missing:
            raise WireError(
                "unsupported_capability",
                f"this worker can't do {', '.join(missing)}; do without, or use a newer worker",
                data={"missing": missing},
            )
        events = self._events & set(hello.events)
        self.state = TRANSITIONS["await_hello", "hello"]
        result = HelloResult(
            id=hello.id,
            protocol=protocol,
            worker=self._identity,
            capabilities=self._capabilities,
            limits=self.limits,
            events=sorted(events),
        )
        return Greeted(encode(result), events)

    def _remember(self, request_id: str) -> None:
        if request_id in self._recent_set:
            return
        if len(self._recent) == REMEMBERED_IDS:
            self._recent_set.discard(self._recent[0])
        self._recent.append(request_id)
        self._recent_set.add(request_id)

    def _unreadable(self, error: WireError, prefix: bytes) -> Iterator[Event]:
        """A line that is no JSON object: it fixes no dialect, and its id is used if it shows."""
        if self.state in ("silent", "dialect0"):
            yield from self._dialect0.receive_unreadable(error)
            return
        request_id = recover_id(prefix) if error.code != "invalid_request" else None
        if request_id is not None and self.is_known(request_id) != "unknown":
            request_id = None  # its own final is still due, or has been sent
        if request_id is not None:
            self._remember(request_id)
        yield self._error(request_id, error)

    def _error(self, request_id: str | None, error: WireError) -> Answer:
        return Answer(encode(error_reply(request_id, error)))
