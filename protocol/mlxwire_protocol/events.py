"""What a connection makes of the bytes it was fed, for whoever drives it."""

from __future__ import annotations

from typing import NamedTuple

from .errors import WireError
from .messages import Command
from .replies import Error, ErrorBody


class Accepted(NamedTuple):
    """A request to serve. Exactly one final reply must follow through `encode_reply`."""

    command: Command


class Answer(NamedTuple):
    """Bytes to send at once."""

    line: bytes


class Greeted(NamedTuple):
    """The handshake is done: its answer's bytes, and the events the client asked for."""

    line: bytes
    events: frozenset[str]


Event = Accepted | Answer | Greeted


def error_reply(request_id: str | None, error: WireError) -> Error:
    """A failure as the message that ends its request."""
    body = ErrorBody(
        code=error.code, message=error.message, retryable=error.retryable, data=error.data
    )
    return Error(id=request_id, error=body)
