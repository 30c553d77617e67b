"""The types of what requests return, and the conversion of replies to them.

Unknown fields and unknown values of a reply are accepted; an error with a code that this version
does not know becomes a plain `MlxwireError` that keeps the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from mlxwire_protocol import WireError
from mlxwire_protocol.client_events import TokenReceived as Token
from mlxwire_protocol.client_events import ToolCallDelta, TopLogprob
from mlxwire_protocol.errors import quoted
from mlxwire_protocol.replies import ErrorBody, Event, RequestMetrics, ToolError
from mlxwire_protocol.replies import ToolCall as WireToolCall

from .errors import MlxwireError, ProtocolViolation, WorkerCrashed

__all__ = [
    "ERRORS_BY_CODE",
    "BatchResult",
    "ClassifyResult",
    "Done",
    "Heartbeat",
    "OnToken",
    "Token",
    "Tokenized",
    "ToolCall",
    "ToolCallDelta",
    "ToolError",
    "TopLogprob",
    "convert_batch_item",
    "convert_event",
    "convert_reply",
    "error_from_code",
    "error_from_reply",
    "error_from_wire",
]

OnToken = Callable[[Token], object]
T = TypeVar("T")


class ToolCall(WireToolCall, kw_only=True):
    """A complete tool call of an answer. ``arguments`` is the text of a JSON object.

    ``arguments_error``: why the arguments do not fit the tool's ``parameters``; None if they do.
    """

    def parsed(self) -> dict[str, Any]:
        """Return the arguments as a dict. Raises: ValueError if they are no JSON object."""
        return msgspec.json.decode(self.arguments, type=dict[str, Any])


class Done(msgspec.Struct, kw_only=True, frozen=True):
    """The end of a stream.

    ``finish_reason``: ``stop``, ``length``, ``cancelled`` or ``tool_calls``. ``stage``: where a
    cancelled request was, ``queued``, ``prefill`` or ``decode``; None for any other end.
    ``complete``: with a ``response_format``, True if the text has the form whole. ``schema_valid``:
    if it is an instance of a schema that is not ``strict``. Both are None otherwise.
    ``tool_calls``: the complete calls of a `chat` with ``tools``. ``tool_error``: the last call that
    did not become whole.
    """

    finish_reason: str
    tokens_generated: int
    metrics: RequestMetrics
    stage: str | None = None
    complete: bool | None = None
    schema_valid: bool | None = None
    tool_calls: list[ToolCall] = []
    tool_error: ToolError | None = None


class ClassifyResult(msgspec.Struct, kw_only=True, frozen=True):
    """The likeliest next token after one prompt.

    ``logprob``: its natural logarithm of probability. ``logits``: the raw values, one for each
    token of the vocabulary. ``labels``: the probability of each label, with sum 1. Both are None
    unless asked for; a single None stands for an infinite number. ``index``: place of the prompt. A
    prompt that failed with ``error`` has an empty ``text`` and the ``token_id`` -1.
    """

    index: int
    text: str = msgspec.field(name="token")
    token_id: int
    logprob: float | None
    logits: list[float | None] | None = None
    labels: dict[str, float | None] | None = None
    error: MlxwireError | None = None

    @property
    def label(self) -> str | None:
        """The likeliest of the ``labels``; None without any."""
        chances = {label: chance or 0.0 for label, chance in (self.labels or {}).items()}
        return max(chances, key=chances.__getitem__, default=None)


class BatchResult(msgspec.Struct, kw_only=True, frozen=True):
    """The result of one prompt of a batch; ``index`` is the prompt's place.

    ``finish_reason``: as in `Done`, or None if the prompt failed with ``error``. ``complete`` and
    ``schema_valid``: as in `Done`.
    """

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    tokens_generated: int
    error: MlxwireError | None = None
    complete: bool | None = None
    schema_valid: bool | None = None


class _BatchItem(msgspec.Struct):
    """The field of a batch's item that says if its prompt failed."""

    error: ErrorBody | None


class Tokenized(msgspec.Struct, kw_only=True, frozen=True):
    """The tokens of a text or of a conversation.

    ``pieces``: the text of each token by itself, with U+FFFD for half a character. ``ids`` and
    ``pieces`` are None if ``count_only`` asked for the number alone.
    """

    ids: list[int] | None
    count: int
    pieces: list[str] | None


class Inspected(msgspec.Struct, kw_only=True, frozen=True):
    """The file of an `inspect`, and the shapes of its arrays.

    For each of ``layers`` the file has ``layers.N.queries``, ``query_heads`` x ``tokens`` x
    ``head_dim``, and ``layers.N.keys``, ``heads`` x ``tokens`` x ``head_dim``, both float32.
    """

    path: str
    model_type: str
    layers: list[int]
    heads: int
    query_heads: int
    head_dim: int
    tokens: int


class Heartbeat(Event, kw_only=True, tag="event"):
    """The event ``heartbeat``, which the worker also sends while its engine computes or hangs.

    ``phase``: ``idle``, ``load``, ``prefill``, ``decode`` or ``classify``. ``steps``: steps of the
    engine so far. ``last_step_seconds``: age of the last one; it grows while the engine hangs.
    """

    phase: str
    steps: int
    last_step_seconds: float
    in_flight: int = 0
    queued: int = 0


def convert_event(message: Mapping[str, Any]) -> Event:
    """Convert an event to its type, or to a plain `Event` if its type is unknown.

    Raises: ProtocolViolation if the message is no event, or its data are no heartbeat's.
    """
    event = convert_reply(message, Event)
    if event.event == "heartbeat":
        return convert_reply({**event.data, **msgspec.to_builtins(event)}, Heartbeat)
    return event


def convert_batch_item(message: Mapping[str, Any]) -> BatchResult:
    """Convert an `item` of a batch. Raises: ProtocolViolation."""
    result = convert_reply({**message, "error": None}, BatchResult)
    if convert_reply(message, _BatchItem).error is None:
        return result
    return msgspec.structs.replace(result, error=error_from_reply(message))


def convert_reply(message: Mapping[str, Any], kind: type[T]) -> T:
    """Convert a reply to a type.

    Raises: ProtocolViolation if a field is missing or has another type.
    """
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise ProtocolViolation(
            f"the worker's {quoted(message.get('type'))} reply is no {kind.__name__}: {error}. "
            "Client and worker may be of different versions"
        ) from None


ERRORS_BY_CODE: Mapping[str, type[MlxwireError]] = {
    kind.default_code: kind for kind in MlxwireError.__subclasses__()
}


def error_from_code(
    code: str,
    message: str,
    *,
    retryable: bool | None = None,
    data: Mapping[str, Any] | None = None,
) -> MlxwireError:
    """Return the exception for an error code; a plain `MlxwireError` for an unknown code."""
    kind = ERRORS_BY_CODE.get(code, MlxwireError)
    if kind is WorkerCrashed:
        kind = MlxwireError  # a worker that can still report an error has not crashed
    return kind(message, code=code, retryable=retryable, data=data)


def error_from_reply(message: Mapping[str, Any]) -> MlxwireError:
    """Return the exception for an ``error`` reply."""
    body = message.get("error")
    if not isinstance(body, dict):
        return ProtocolViolation(
            f"the worker sent an error reply whose `error` is no object: {quoted(body)}"
        )
    code, text, data = body.get("code"), body.get("message"), body.get("data")
    return error_from_code(
        code if isinstance(code, str) else quoted(code),
        text if isinstance(text, str) else quoted(text),
        retryable=bool(body.get("retryable")),
        data=data if isinstance(data, dict) else None,
    )


def error_from_wire(error: WireError) -> MlxwireError:
    """Return the exception for an error that the protocol core raised."""
    return error_from_code(
        error.code, error.message, retryable=error.retryable, data=error.data
    )
