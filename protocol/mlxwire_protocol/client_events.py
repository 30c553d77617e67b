"""The events that `ClientConnection` yields to its caller, one for each line of the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec


class TopLogprob(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One of the likeliest tokens at one position; ``logprob`` is natural, None for -infinity."""

    text: str = msgspec.field(name="token")
    id: int = msgspec.field(name="token_id")
    logprob: float | None


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A part of a tool call: its ``name`` at the beginning, then fragments of its ``arguments``.

    ``index`` is the call's place in the answer. All fragments together are a JSON object.
    """

    index: int
    call_id: str
    name: str | None = None
    arguments: str = ""


class TokenReceived(
    msgspec.Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    tag_field="type",
    tag="token",
    forbid_unknown_fields=True,
):
    """One token of a pending request. Nearly every reply is one, so decoding it must be cheap.

    The decoder would skip the value of an unknown field without reading it. So it refuses a line
    with such a field, and the line is read as all other messages are, with every number in it.

    ``id`` is the token's id, ``request_id`` the id of its request; ``text`` may be empty. A
    piece with ``flush`` was held back until the end of the text and does not count as a token.
    ``index`` is the prompt's place in a batch, else None; ``channel`` is None for plain text.
    ``logprob`` (natural) and ``top_logprobs``, likeliest first, are None unless the request
    asked for them. ``tool_call`` is None, but for a part of a call: that is no token either, has an
    empty ``text``, ``flush``, and the ``id`` -1.
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
    tool_call: ToolCallDelta | None = None


def token_received(message: Mapping[str, Any]) -> TokenReceived:
    """Convert a message to a token, without the fields that this version does not know.

    Raises: msgspec.ValidationError.
    """
    known = _known(message, TokenReceived)
    likeliest = known.get("top_logprobs")
    if isinstance(likeliest, list):
        known["top_logprobs"] = [
            _known(each, TopLogprob) if isinstance(each, dict) else each for each in likeliest
        ]
    return msgspec.convert(known, TokenReceived)


def _known(message: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    names = {*kind.__struct_encode_fields__, "type"}
    return {name: value for name, value in message.items() if name in names}


class _EventShape(msgspec.Struct):
    id: None
    event: str
    data: dict[str, Any]
    final: Literal[False] | None = None


class _HeartbeatDataShape(msgspec.Struct):
    phase: str
    steps: int
    last_step_seconds: float
    in_flight: int = 0
    queued: int = 0


_DATA_SHAPES: dict[str, type[msgspec.Struct]] = {"heartbeat": _HeartbeatDataShape}


def check_event(message: Mapping[str, Any]) -> None:
    """Check an event, and the data of one that this version knows.

    Raises: msgspec.ValidationError.
    """
    event = msgspec.convert(message, _EventShape)
    data_shape = _DATA_SHAPES.get(event.event)
    if data_shape is not None:
        msgspec.convert(event.data, data_shape)


class ReplyReceived(NamedTuple):
    """A reply that is no token; ``ended`` is True for the final reply of its request."""

    id: str
    message: dict[str, Any]
    ended: bool


class EventReceived(NamedTuple):
    """An `event` message of the worker, which answers no request."""

    message: dict[str, Any]


class StrayLine(NamedTuple):
    """A line before the handshake that is no message, such as a banner."""

    line: bytes


Received = TokenReceived | ReplyReceived | EventReceived | StrayLine
