"""The client's end of a connection, sans-IO: requests out, replies in (SPEC §2, §3).

It hands out ids, follows every request's life and names a worker's offence; the clients of
all languages do the same. The worker's end is in `connection.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
import orjson

from .errors import WireError, invalid_params, quoted
from .framing import DEFAULT_MAX_LINE_BYTES, Line, LineSplitter, Overlong
from .request_state import RequestState
from .version import SUPPORTED_PROTOCOLS

MAX_STRAY_LINES = 64
State = Literal["new", "greeting", "ready", "failed"]

TRANSITIONS: dict[tuple[State, Literal["hello", "greeted", "refused", "violation"]], State] = {
    ("new", "hello"): "greeting",
    ("greeting", "greeted"): "ready",
    ("greeting", "refused"): "failed",
    ("greeting", "violation"): "failed",
    ("ready", "violation"): "failed",
}


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """One of the likeliest tokens at a place; ``logprob`` is natural, None for -infinity."""

    text: str = msgspec.field(name="token")
    id: int = msgspec.field(name="token_id")
    logprob: float | None


class TokenReceived(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="token"
):
    """One token of a request that is pending: the reply that has to be cheap.

    ``id`` is the token's, ``request_id`` its request's; ``text`` may be empty. A piece with
    ``flush`` was held back until the end, and is not counted. ``index`` is the prompt's in a
    batch; ``channel`` is None for plain text. ``logprob`` (natural) and ``top_logprobs``,
    likeliest first, are None unless the request asked for them.
    """

    request_id: str = msgspec.field(name="id")
    seq: int
    text: str = msgspec.field(name="token")
    id: int = msgspec.field(name="token_id")
    flush: bool = False
    index: int | None = None
    channel: str | None = None
    logprob: float | None = None
    top_logprobs: list[TopLogprob] | None = None
    final: bool = False


class ReplyReceived(NamedTuple):
    """Any other reply to a request that is pending; ``ended`` with its final."""

    id: str
    message: dict[str, Any]
    ended: bool


class EventReceived(NamedTuple):
    """A message the worker sent unasked."""

    message: dict[str, Any]


class StrayLine(NamedTuple):
    """A line before the handshake that is no message, such as a banner; kept for diagnosis."""

    line: bytes


Received = TokenReceived | ReplyReceived | EventReceived | StrayLine
_decode_token = msgspec.json.Decoder(TokenReceived).decode


class ClientConnection:
    """What a client knows of its worker. One thread or task at a time."""

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
        """Ids whose final is still due, oldest first."""
        return list(self._pending)

    def hello(
        self,
        *,
        name: str,
        version: str,
        require: list[str] | None = None,
        events: list[str] | None = None,
    ) -> tuple[str, bytes]:
        """The handshake's request: its id and its line."""
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
        """A request under a fresh id: the id and the line to write.

        Raises: WireError ``invalid_params`` where a string is no well-formed Unicode or a value
        is no JSON, ``message_too_large`` where the line passes the worker's limit; in both
        cases nothing may be written, and nothing is pending.
        """
        self._count += 1
        request_id = f"r{self._count}"
        try:
            line = orjson.dumps(
                {"id": request_id, "cmd": command, **fields},
                option=orjson.OPT_APPEND_NEWLINE,
            )
        except TypeError as error:
            raise _unsendable(command, fields, error) from None
        if len(line) - 1 > self.max_line_bytes:
            raise WireError(
                "message_too_large",
                f"the request has {len(line) - 1} bytes, the worker takes "
                f"{self.max_line_bytes}; send less in one request",
                data={"max_line_bytes": self.max_line_bytes},
            )
        self._pending[request_id] = RequestState(request_id)
        return request_id, line

    def receive(self, chunk: bytes) -> Iterator[Received]:
        """Take bytes as they arrive; yields the messages they complete.

        Raises: WireError ``protocol_violation``; nothing that follows can be trusted then.
        """
        pending = self._pending
        for line in self._splitter.feed(chunk):
            # Nearly every line is a plain token: one decode, one look-up, no dict.
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
        """Take one line of any kind. Raises as `receive`."""
        message = self._parse(line)
        if message is None:
            assert isinstance(line, bytes)
            yield StrayLine(line)
            return
        request_id = message.get("id")
        if request_id is None:
            if message.get("type") == "event":
                yield EventReceived(message)
                return
            detail = message.get("error")
            raise self._violation(
                f"the worker could not read a request of ours: {quoted(detail)}"
            )
        state = self._pending.get(request_id) if isinstance(request_id, str) else None
        if state is None:
            raise self._violation(
                f"a reply has the id {quoted(request_id)}, which is not pending"
            )
        kind = message.get("type")
        if not isinstance(kind, str):
            raise self._violation(f"a reply has the type {quoted(kind)}, which is no name")
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
            return msgspec.convert(message, TokenReceived)
        except msgspec.ValidationError as error:
            raise self._violation(f"a token is malformed: {error}") from None

    def _parse(self, line: Line) -> dict[str, Any] | None:
        """A line as a message; None for a line before the handshake that is none."""
        if isinstance(line, Overlong):
            raise self._violation(f"a line has more than {self.max_line_bytes} bytes")
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict):
            if self.state == "ready" or ("type" in message and "id" in message):
                return message
            if self.state == "greeting" and isinstance(message.get("error"), str):
                raise self._violation(
                    f"the worker answered hello in the older, unversioned wire: "
                    f"{message['error'][:200]!r}"
                )
        if self.state != "greeting" or len(self.stray_lines) >= MAX_STRAY_LINES:
            raise self._violation(f"a line is no message: {line[:80]!r}")
        self.stray_lines.append(line[:4096])
        return None

    def _greeted(self, message: dict[str, Any]) -> None:
        if message.get("type") != "result":
            self._move("refused")
            return
        if message.get("protocol") not in SUPPORTED_PROTOCOLS:
            raise self._violation(
                f"the worker chose protocol {quoted(message.get('protocol'))}, which was not "
                "offered"
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
            raise WireError("protocol_violation", f"{event} may not come while {self.state}")
        self.state = following

    def _violation(self, what: str) -> WireError:
        if self.state in ("greeting", "ready"):
            self._move("violation")
        return WireError("protocol_violation", what)


def _unsendable(command: str, fields: dict[str, Any], error: TypeError) -> WireError:
    """Why a request is no JSON, naming the field that spoils it."""
    for field, value in fields.items():
        try:
            orjson.dumps(value)
        except TypeError as reason:
            return invalid_params(
                field, f"`{field}` of `{command}` has a value that JSON can't carry: {reason}"
            )
    return WireError("invalid_params", f"`{command}` can't be sent as JSON: {error}")


def _is_duplicate(message: dict[str, Any]) -> bool:
    error = message.get("error")
    return isinstance(error, dict) and error.get("code") == "duplicate_id"
