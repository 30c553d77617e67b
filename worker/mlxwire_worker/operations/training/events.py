"""Reads the events that a training's program writes, one JSON object a line."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mlxwire_protocol import WireError
from mlxwire_protocol.errors import WORKER_CODES

R = TypeVar("R", bound=Struct)

_FINAL = frozenset({"result", "error", "cancelled"})


class NoEvent(Exception):
    """Raised for a line that is no event."""


class Cancelled(Struct, kw_only=True):
    """The program has saved what it had: its last checkpoint, None without one, and its step."""

    checkpoint: str | None = None
    step: int = 0


class _Error(Struct, kw_only=True):
    code: str
    message: str
    data: dict[str, Any] = {}
    retryable: bool | None = None


def read_event(line: bytes) -> dict[str, Any]:
    """Return the fields of an event. Raises: NoEvent."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NoEvent from None
    if fields.get("event") not in {"progress", *_FINAL}:
        raise NoEvent
    return fields


def is_final(event: dict[str, Any]) -> bool:
    """Return True if no other event follows."""
    return event["event"] in _FINAL


def as_reply(event: dict[str, Any], kind: type[R], request_id: str) -> R:
    """Convert an event to a reply. Raises: NoEvent if its fields are not those of the reply."""
    tag = kind.__struct_config__.tag
    try:
        return msgspec.convert({**event, "type": tag, "id": request_id}, kind)
    except msgspec.ValidationError:
        raise NoEvent from None


def as_cancelled(event: dict[str, Any]) -> Cancelled:
    """Convert the event `cancelled`. Raises: NoEvent."""
    try:
        return msgspec.convert(event, Cancelled)
    except msgspec.ValidationError:
        raise NoEvent from None


def as_error(event: dict[str, Any]) -> WireError:
    """Convert the event `error`. Raises: NoEvent."""
    try:
        told = msgspec.convert(event, _Error)
    except msgspec.ValidationError:
        raise NoEvent from None
    code = told.code if told.code in WORKER_CODES else "training_failed"
    return WireError(code, told.message, data=told.data, retryable=told.retryable)
