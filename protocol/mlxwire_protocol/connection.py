"""The worker's end of a connection, sans-IO: lines in, requests and answers out (SPEC §2, §3).

Theory of operation. The caller passes the bytes that it reads to `receive` and handles the
events that it yields: `Answer` and `Greeted` carry bytes to write at once, `Accepted` a typed
request that must get exactly one final reply. For each reply the caller asks `encode_reply` for
its bytes, and calls `finished` when the final is on its way. This file never reads, writes,
waits or looks at a clock. It owns the dialect, the handshake, the ids, and the limits of a line
and of the requests in flight.

The states are in ``TRANSITIONS``. The first JSON object fixes the dialect. In dialect 1 the
connection is `await_hello` until a `hello` succeeds, and then `ready`.

Order of checks for a line in dialect 1: its length; JSON; an object; `id`; `cmd`; an unused id. From
here the id is used up, whatever follows: handshake order; the command and its fields; the load.
Only then it is in flight.

Invariants:
- An accepted id is in ``_in_flight`` until `finished`, and remembered for a while after that.
- Commands of the lane `at_once` are accepted by a full worker too: a host must be able to cancel.
- No reply is longer than a client accepts. `_fitting` refuses it here, and the request fails alone.

Threads: the reader's thread receives, the engine's encodes; the caller locks all calls.

Hazards and what went wrong before:
- `receive` is a generator that runs while the caller handles its events, and the caller may call
  `finished` in between.
- An over-long last line at the end of input was served as if its first bytes were the line.
- Ids were recovered from nested objects of a line that was no JSON.
- 4,096 requests of 16 MiB each could fill the memory: hence a limit of bytes in flight.
- A reply longer than a line made the client end the worker, with all its pending requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .codec import convert_command, encode, encode_token, parse_object, recover_id, valid_id
from .commands import choose_version, row_of
from .errors import SHOWN_CHARACTERS, WireError
from .events import Accepted, Answer, Event, Greeted, error_reply
from .framing import DEFAULT_MAX_LINE_BYTES, Line, LineSplitter, Overlong
from .messages import Command, Hello
from .results import HelloResult, Limits, WorkerIdentity

if TYPE_CHECKING:
    from .dialect0.session import Dialect0Session

REMEMBERED_IDS = 4096
"""The most recent ids that are remembered, besides those in flight."""
INFLIGHT_LINES = 16
"""The lines of all requests in flight may have this many times ``max_line_bytes`` together."""

State = Literal["silent", "dialect0", "await_hello", "ready"]
FirstSeen = Literal["with_id", "without_id", "hello"]

TRANSITIONS: dict[tuple[State, FirstSeen], State] = {
    ("silent", "with_id"): "await_hello",
    ("silent", "without_id"): "dialect0",
    ("await_hello", "hello"): "ready",
}
"""The states and what moves between them. The first JSON object fixes the dialect for good."""


class WorkerConnection:
    """The state of a worker's connection to its one client; the caller locks all calls."""

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
        from .dialect0.session import Dialect0Session  # most connections never need it

        return Dialect0Session()

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """Parse the next bytes from the client and yield events, in order."""
        for line in self._splitter.feed(chunk):
            yield from self.receive_line(line)

    def receive_end(self) -> Iterator[Event]:
        """Handle the end of input: a last line without its 0x0A is still a line."""
        rest = self._splitter.end()
        if rest is not None:
            yield from self.receive_line(rest)

    def receive_line(self, line: Line) -> Iterator[Event]:
        """Parse one line and yield its events."""
        if isinstance(line, Overlong):
            error = WireError(
                "message_too_large",
                f"the line is too long; the largest accepted size is "
                f"{self.limits.max_line_bytes} bytes. Send less in one request",
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
            seen: FirstSeen = "without_id" if fields.get("id") is None else "with_id"
            self.state = TRANSITIONS["silent", seen]
        if self.state == "dialect0":
            yield from self._dialect0.receive_object(fields, len(line))
        else:
            yield from self._object(fields, len(line))

    def finished(self, request_id: str) -> Iterator[Event]:
        """Note that a request has its final reply; yield a request that waited (dialect 0)."""
        if self.state == "dialect0":
            yield from self._dialect0.finished(request_id)
        elif self._in_flight.pop(request_id, None) is not None:
            self._bytes -= self._sizes.pop(request_id)
            self._remember(request_id)

    def encode_reply(self, reply: msgspec.Struct) -> bytes:
        """Encode a typed reply in the dialect in force; dialect 0 has no bytes for some replies.

        Raises: WireError ``message_too_large`` for a line that no client accepts.
        """
        if self.state == "dialect0":
            return self._dialect0.encode_reply(reply)
        return self._fitting(encode(reply))

    def encode_token(
        self, job: str, seq: int, text: str, token_id: int, channel: str | None = None
    ) -> bytes:
        """Encode a token of the request ``job`` as `encode_reply` does, without creating its type."""
        if self.state == "dialect0":
            return self._dialect0.encode_token(text, token_id)
        return self._fitting(encode_token(job, seq, text, token_id, channel))

    def _fitting(self, line: bytes) -> bytes:
        most = max(self.limits.max_line_bytes, DEFAULT_MAX_LINE_BYTES)
        if len(line) > most:
            raise WireError(
                "message_too_large",
                f"a reply has {len(line)} bytes; the largest accepted size is {most} bytes. Ask for "
                "less in one request, such as fewer tokens or no `logits`",
                data={"max_line_bytes": most},
            )
        return line

    @property
    def in_flight(self) -> list[str]:
        """Return the ids whose final reply is still due, oldest first."""
        return list(self._owed)

    @property
    def _owed(self) -> dict[str, Command]:
        return self._dialect0.in_flight if self.state == "dialect0" else self._in_flight

    def is_known(self, request_id: str) -> Literal["in_flight", "finished", "unknown"]:
        """Return the state of an id; `unknown` also if it is no longer remembered."""
        if request_id in self._owed:
            return "in_flight"
        return "finished" if request_id in self._recent_set else "unknown"

    def _object(self, fields: dict[str, Any], size: int) -> Iterator[Event]:
        request_id = fields.get("id")
        if not valid_id(request_id):
            reason = "a string of 1 to 128 bytes, new for each request"
            what = "has no `id`" if "id" not in fields else "has an `id` that is not accepted"
            yield self._error(
                None, WireError("invalid_request", f"the request {what}; send {reason}")
            )
            return
        assert isinstance(request_id, str)
        if not isinstance(fields.get("cmd"), str):
            error = WireError(
                "invalid_request",
                "the request has no string `cmd`; send the name of a command in it",
            )
            yield self._error(None, error)
            return
        if self.is_known(request_id) != "unknown":
            error = WireError(
                "duplicate_id",
                f"the id {request_id!r} was already used on this connection; the first request "
                "with it goes on. Send a new id with each request",
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
                f"`{fields['cmd'][:SHOWN_CHARACTERS]}` came before `hello`; send hello first: "
                '{"id": "h", "cmd": "hello", "protocols": [1]}',
            )
        if self.state == "ready" and is_hello:
            raise WireError(
                "invalid_request", "`hello` was already answered; send it only once"
            )
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
        """Raise WireError ``overloaded`` above the limits of requests and bytes in flight."""
        count, budget = len(self._in_flight), INFLIGHT_LINES * self.limits.max_line_bytes
        if count >= self.limits.max_inflight:
            option, data = "--max-inflight", {"max_inflight": self.limits.max_inflight}
        elif self._bytes + size > budget:
            option, data = "--max-line-bytes", {"max_inflight_bytes": budget}
        else:
            return
        raise WireError(
            "overloaded",
            f"{count} requests with {self._bytes} bytes are in flight; at most "
            f"{self.limits.max_inflight} requests and {budget} bytes are accepted. Wait until one "
            f"has ended, and send this one again, or start the worker with a larger {option}",
            data=data,
        )

    def _greet(self, hello: Hello) -> Greeted:
        protocol = choose_version(hello.protocols)
        have = {name for name, value in self._capabilities.items() if value is not False}
        missing = [name[:SHOWN_CHARACTERS] for name in hello.require if name not in have]
        if missing:
            raise WireError(
                "unsupported_capability",
                f"the worker does not have the required capabilities {', '.join(missing)}; leave "
                "them out of `require`, or use a newer worker",
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
        """Answer a line that is no JSON object, under its id if that can be recovered."""
        if self.state in ("silent", "dialect0"):
            yield from self._dialect0.receive_unreadable(error)
            return
        request_id = recover_id(prefix) if error.code != "invalid_request" else None
        if request_id is not None and self.is_known(request_id) != "unknown":
            request_id = None  # the final of that id is still due, or was sent
        if request_id is not None:
            self._remember(request_id)
        yield self._error(request_id, error)

    def _error(self, request_id: str | None, error: WireError) -> Answer:
        return Answer(encode(error_reply(request_id, error)))
