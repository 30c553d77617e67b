"""The events that `WorkerConnection` yields to its caller.

They, and the other records that a worker needs before `hello`, are Structs: each NamedTuple takes
0.1 to 0.4 ms of the start, a Struct 0.01 ms.
"""

from __future__ import annotations

from msgspec import Struct

from .errors import WireError
from .messages import Command
from .replies import Error, ErrorBody


class Accepted(Struct, frozen=True):
    """A request to serve. The caller must encode exactly one final reply to it."""

    command: Command


class Answer(Struct, frozen=True):
    """A line to send at once."""

    line: bytes


class Greeted(Struct, frozen=True):
    """The handshake has succeeded: its answer's line, and the events that will be sent."""

    line: bytes
    events: frozenset[str]


Event = Accepted | Answer | Greeted


MOST_CHARACTERS = 8192
"""The most characters of an error's message or of a string in its data.

A library's error may quote a whole file.
"""


def error_reply(request_id: str | None, error: WireError) -> Error:
    """Create the final reply for an error, shortened so that it fits into a line."""
    return Error(id=request_id, error=error_body(error))


def error_body(error: WireError) -> ErrorBody:
    """Convert an error to its fields on the wire, shortened so that they fit into a line."""
    return ErrorBody(
        code=error.code,
        message=_shortened(error.message),
        retryable=error.retryable,
        data={
            name: _shortened(value) if isinstance(value, str) else value
            for name, value in error.data.items()
        },
    )


def _shortened(text: str) -> str:
    """Cut the middle out of a text that is too long, since its end says what to do."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
