"""What requests give back, as types. Unknown fields and unknown values are let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from mlxwire_protocol.client_events import TokenReceived as Token
from mlxwire_protocol.client_events import TopLogprob
from mlxwire_protocol.errors import quoted
from mlxwire_protocol.replies import Event, RequestMetrics

from .errors import MlxwireError, ProtocolViolation, error_from_reply

__all__ = [
    "BatchResult",
    "ClassifyResult",
    "Done",
    "Heartbeat",
    "OnToken",
    "Token",
    "TopLogprob",
    "convert_batch_item",
    "convert_event",
    "convert_reply",
]

OnToken = Callable[[Token], object]
T = TypeVar("T")


class Done(msgspec.Struct, kw_only=True, frozen=True):
    """How a stream ended.

    ``finish_reason`` is ``stop``, ``length``, ``cancelled`` or ``tool_calls``; ``stage``, on
    ``cancelled`` alone, is how far it had come: ``queued``, ``prefill`` or ``decode``.
    """

    finish_reason: str
    tokens_generated: int
    metrics: RequestMetrics
    stage: str | None = None


class ClassifyResult(msgspec.Struct, kw_only=True, frozen=True):
    """The likeliest next token of one prompt, with its natural ``logprob``.

    ``logits`` is the raw row over the vocabulary and ``labels`` the probability of each label
    (together 1), where they were asked for. None stands where a number is infinite.
    """

    index: int
    text: str = msgspec.field(name="token")
    token_id: int
    logprob: float | None
    logits: list[float | None] | None = None
    labels: dict[str, float | None] | None = None


class BatchResult(msgspec.Struct, kw_only=True, frozen=True):
    """What one prompt of a batch became; ``index`` is its place among the prompts.

    ``finish_reason`` is as `Done`'s, and None with an ``error`` of this prompt's own.
    """

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    tokens_generated: int
    error: MlxwireError | None = None


class Heartbeat(Event, kw_only=True, tag="event"):
    """The event ``heartbeat``, which comes also while the worker computes, or hangs.

    ``phase`` is ``idle``, ``load``, ``prefill``, ``decode`` or ``classify``; ``steps`` counts the
    engine's steps and ``last_step_seconds`` is the age of the last: a wedge takes none.
    """

    phase: str
    steps: int
    last_step_seconds: float
    in_flight: int = 0
    queued: int = 0


def convert_event(message: Mapping[str, Any]) -> Event:
    """An event as its type, or plain where it is of no type known here.

    Raises: ProtocolViolation where it is no event at all.
    """
    event = convert_reply(message, Event)
    if event.event == "heartbeat":
        try:
            return convert_reply({**event.data, **message}, Heartbeat)
        except ProtocolViolation:
            pass
    return event


def convert_batch_item(message: Mapping[str, Any]) -> BatchResult:
    """One prompt's `item` of a batch. Raises: ProtocolViolation."""
    result = convert_reply({**message, "error": None}, BatchResult)
    if message.get("error") is None:
        return result
    return msgspec.structs.replace(result, error=error_from_reply(message))


def convert_reply(message: Mapping[str, Any], kind: type[T]) -> T:
    """A reply as its type.

    Raises: ProtocolViolation where a field is missing or of another type.
    """
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise ProtocolViolation(
            f"the worker's {quoted(message.get('type'))} reply is no {kind.__name__}: {error}. "
            "Client and worker may be of different versions"
        ) from None
