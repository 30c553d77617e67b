"""The client's end of a connection, sans-IO: requests out, replies in (SPEC §2, §3).

The clients in all languages follow the same rules. The worker's end is in `connection.py`.

Theory of operation. The caller moves the bytes: it writes the lines that `hello` and `request`
return, and passes what it reads to `receive`, which yields typed events. This file never reads,
writes, waits or looks at a clock. It does three things: hand out ids, follow the life of each
pending request (`request_state`), and raise `protocol_violation` for anything that the worker must
not send. What to do about a violation, such as killing the worker, is the caller's decision.

The connection's states are in ``TRANSITIONS``: `new`, then `greeting` after `hello`, then `ready` or
`failed`. While `greeting`, up to ``MAX_STRAY_LINES`` lines that are no messages are recorded and
skipped: banners of a shell or a library. Later such a line is a violation.

Order of events for a line: it is decoded as a plain token, in one step and without a dict, because
nearly every line is one. If that fails, or the token may not come here, `receive_line` parses it as
any message; it repeats the checks, so that the error names the offence.

Invariants:
- An id is pending from `request` until its final reply, and then never again.
- A request whose line can't be encoded or is too long is not pending, and nothing must be written.
- After a violation the state is `failed`, and no later line can be trusted.
- Text of the worker that an error quotes is bounded (`errors.quoted`), so no message is huge.

Threads: one thread or task at a time; the caller provides the lock if it has several.

Hazards and what went wrong before: deeply nested JSON raised RecursionError, and a count of the
wrong type TypeError, inside the callback of the caller's pipe, and its request hung for ever. Both are
violations now. A worker that speaks dialect 0 answers `hello` with a bare object; without the
special case in `_parse` the client would wait until its time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import orjson

from .client_events import (
    EventReceived,
    Received,
    ReplyReceived,
    StrayLine,
    TokenReceived,
    check_event,
    token_received,
)
from .codec import encode_request
from .commands import SUPPORTED_PROTOCOLS
from .errors import WireError, quoted
from .framing import DEFAULT_MAX_LINE_BYTES, Line, LineSplitter, Overlong
from .request_state import RequestState, replies_to

MAX_STRAY_LINES = 64
State = Literal["new", "greeting", "ready", "failed"]

TRANSITIONS: dict[tuple[State, Literal["hello", "greeted", "refused", "violation"]], State] = {
    ("new", "hello"): "greeting",
    ("greeting", "greeted"): "ready",
    ("greeting", "refused"): "failed",
    ("greeting", "violation"): "failed",
    ("ready", "violation"): "failed",
}


class _NoOther(msgspec.Struct, tag_field="type", tag="", forbid_unknown_fields=True):
    """A message that no line is: the decoder asks for a tag only if it has two types."""

    never: Annotated[int, msgspec.Meta(gt=0, lt=0)]


_decode_token: Callable[[bytes], TokenReceived] = msgspec.json.Decoder(
    TokenReceived | _NoOther
).decode


class ClientConnection:
    """The state of a client's connection to one worker.

    For one thread or task at a time. ``stray_lines`` are the lines that were skipped before the
    handshake, each cut to 4,096 bytes. ``max_line_bytes`` is the worker's limit once it is known.
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.state: State = "new"
        self.max_line_bytes = max_line_bytes
        self.stray_lines: list[bytes] = []
        self._splitter = LineSplitter(max_line_bytes)
        self._pending: dict[str, RequestState] = {}
        self._count = 0
        self._hello_id: str | None = None

    @property
    def pending(self) -> list[str]:
        """Return the ids whose final reply is still due, oldest first."""
        return list(self._pending)

    def hello(
        self,
        *,
        name: str,
        version: str,
        require: list[str] | None = None,
        events: list[str] | None = None,
    ) -> tuple[str, bytes]:
        """Create the handshake's request; return its id and the line to write.

        Raises: WireError ``protocol_violation`` if `hello` was already sent.
        """
        self._move("hello")
        self._hello_id, line = self.request(
            "hello",
            {
                "protocols": list(SUPPORTED_PROTOCOLS),
                "client": {"name": name, "version": version},
                "require": require or [],
                "events": events or [],
            },
        )
        return self._hello_id, line

    def request(self, command: str, fields: dict[str, Any]) -> tuple[str, bytes]:
        """Create a request under a new id; return the id and the line to write.

        Raises: WireError as `encode_request` does; then no request is pending, and nothing must be
        written.
        """
        request_id = f"r{self._count + 1}"
        line = encode_request(request_id, command, fields, self.max_line_bytes)
        self._count += 1
        self._pending[request_id] = RequestState(request_id, replies_to(command, fields))
        return request_id, line

    def receive(self, chunk: bytes) -> Iterator[Received]:
        """Parse the next bytes from the worker and yield the messages that they complete.

        Raises: WireError ``protocol_violation``; no later byte can be trusted then.
        """
        pending = self._pending
        for line in self._splitter.feed(chunk):
            # Nearly every line is a plain token: decode it once, without a dict.
            try:
                token = _decode_token(line)  # type: ignore[arg-type]
            except (ValueError, TypeError, RecursionError):
                yield from self.receive_line(line)
                continue
            state = pending.get(token.request_id)
            if (
                state is not None
                and not token.final
                and state.advance_token(token.seq, token.index, token.flush)
            ):
                yield token
            else:
                yield from self.receive_line(line)

    def receive_line(self, line: Line) -> Iterator[Received]:
        """Parse one line of any kind and yield its message. Raises as `receive` does."""
        message = self._parse(line)
        if message is None:
            assert isinstance(line, bytes)
            yield StrayLine(line)
            return
        kind = message.get("type")
        if kind == "event":
            yield self._event(message)
            return
        if "id" not in message:
            raise self._violation(f"a message of the type {quoted(kind)} has no `id`")
        request_id = message["id"]
        if request_id is None:
            if kind != "error":
                raise self._violation(f"a message of the type {quoted(kind)} has the id null")
            raise self._violation(
                f"the worker could not read one of the requests: {quoted(message.get('error'))}"
            )
        state = self._pending.get(request_id) if isinstance(request_id, str) else None
        if state is None:
            raise self._violation(
                f"a reply has the id {quoted(request_id)}, but no request with it is pending"
            )
        if not isinstance(kind, str):
            raise self._violation(f"a reply has the type {quoted(kind)}, which is not a string")
        if kind == "error" and _is_duplicate(message):
            raise self._violation(f"the worker says that id {request_id!r} was used twice")
        try:
            state.advance(kind, message)
        except WireError as error:
            raise self._violation(error.message) from None
        if kind == "token":
            yield self._token(message)
            return
        if state.ended:
            del self._pending[request_id]
            if request_id == self._hello_id:
                self._greeted(message)
        yield ReplyReceived(request_id, message, state.ended)

    def _token(self, message: dict[str, Any]) -> TokenReceived:
        try:
            return token_received(message)
        except msgspec.ValidationError as error:
            raise self._violation(f"a token is malformed: {error}") from None

    def _event(self, message: dict[str, Any]) -> EventReceived:
        try:
            check_event(message)
        except msgspec.ValidationError as error:
            raise self._violation(f"an event is malformed: {error}") from None
        return EventReceived(message)

    def _parse(self, line: Line) -> dict[str, Any] | None:
        """Parse a line; return None for a line before the handshake that is no message.

        Raises: WireError ``protocol_violation``.
        """
        if isinstance(line, Overlong):
            raise self._violation(
                f"a line is longer than {self.max_line_bytes} bytes, the largest accepted size"
            )
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict):
            if self.state == "ready" or ("type" in message and "id" in message):
                return message
            if message.get("cmd") == "hello":
                raise self._violation(
                    "the program writes back what it is sent, as `cat` does, so it is no worker"
                )
            if self.state == "greeting" and isinstance(message.get("error"), str):
                raise self._violation(
                    f"the worker answered `hello` in dialect 0, the older protocol without ids: "
                    f"{message['error'][:200]!r}"
                )
        if self.state != "greeting" or len(self.stray_lines) >= MAX_STRAY_LINES:
            raise self._violation(f"a line is not a message: {line[:80]!r}")
        self.stray_lines.append(line[:4096])
        return None

    def _greeted(self, message: dict[str, Any]) -> None:
        if message.get("type") != "result":
            self._move("refused")
            return
        if message.get("protocol") not in SUPPORTED_PROTOCOLS:
            raise self._violation(
                f"the worker chose protocol {quoted(message.get('protocol'))}, but the client "
                f"offered {', '.join(map(str, SUPPORTED_PROTOCOLS))}"
            )
        limits = message.get("limits")
        cap = limits.get("max_line_bytes") if isinstance(limits, dict) else None
        if isinstance(cap, int) and cap > 0:
            self.max_line_bytes = cap
            self._splitter.max_line_bytes = max(cap, self._splitter.max_line_bytes)
        self._move("greeted")

    def _move(self, event: Literal["hello", "greeted", "refused", "violation"]) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise WireError(
                "protocol_violation",
                f"`{event}` is not allowed while the connection is {self.state}",
            )
        self.state = following

    def _violation(self, what: str) -> WireError:
        if self.state in ("greeting", "ready"):
            self._move("violation")
        return WireError("protocol_violation", what)


def _is_duplicate(message: dict[str, Any]) -> bool:
    error = message.get("error")
    return isinstance(error, dict) and error.get("code") == "duplicate_id"
