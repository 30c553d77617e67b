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


MOST_CHARACTERS = 8192
"""Of a message, or of a string beside it: a library may have quoted all of a model's file."""


def error_reply(request_id: str | None, error: WireError) -> Error:
    """A failure as the message that ends its request; it always fits into a line."""
    body = ErrorBody(
        code=error.code,
        message=_shortened(error.message),
        retryable=error.retryable,
        data={
            name: _shortened(value) if isinstance(value, str) else value
            for name, value in error.data.items()
        },
    )
    return Error(id=request_id, error=body)


def _shortened(text: str) -> str:
    """A text without its middle, if it is too long: the remedy stands at the end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
