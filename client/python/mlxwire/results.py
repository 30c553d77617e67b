"""What requests give back, as types. Unknown fields and unknown values are let through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from mlxwire_protocol.client_connection import TokenReceived as Token
from mlxwire_protocol.replies import RequestMetrics

from .errors import ProtocolViolation

__all__ = ["ClassifyResult", "Done", "Token", "convert_reply"]

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


def convert_reply(message: Mapping[str, Any], kind: type[T]) -> T:
    """A reply as its type.

    Raises: ProtocolViolation where a field is missing or of another type.
    """
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise ProtocolViolation(
            f"the worker's `{message.get('type')}` reply is no {kind.__name__}: {error}. "
            "Client and worker may be of different versions"
        ) from None
