"""The types of all messages that the worker sends in dialect 1 (SPEC §5).

Clients ignore unknown fields and unknown types that are not final, so both can be added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .messages import Count

FinishReason = Literal["stop", "length", "cancelled", "tool_calls"]
CancelStage = Literal["queued", "prefill", "decode"]


class ErrorBody(Struct, kw_only=True):
    """An error; ``code`` is one of SPEC §6."""

    code: str
    message: str
    retryable: bool = False
    data: dict[str, Any] = {}


class Reply(Struct, kw_only=True, tag_field="type", omit_defaults=False):
    """The base of every reply, with the id of its request."""

    id: str


class Token(Reply, kw_only=True, tag="token"):
    """One generated token. ``token`` is its text, which may be empty.

    Text with ``flush`` was held back until the end of the stream. Such a message repeats the last
    token's id and does not count as a token.
    """

    seq: Count
    token: str
    token_id: Count


class FlushToken(Token, kw_only=True, tag="token"):
    """Text that was held back, an incomplete character or the beginning of a stop string."""

    flush: Literal[True] = True


class TopLogprob(Struct, kw_only=True):
    """One of the likeliest tokens at one position. ``logprob`` is null for a probability of 0."""

    token: str
    token_id: Count
    logprob: float | None


class LogprobToken(Token, kw_only=True, tag="token"):
    """A token with log-probabilities: natural, in float32, before penalties and temperature.

    ``top_logprobs`` are sorted, likeliest first; null if the request did not ask for them.
    """

    logprob: float | None
    top_logprobs: list[TopLogprob] | None = None


class ThinkingToken(Token, kw_only=True, tag="token"):
    """A token of the model's thoughts, whose text is no part of the answer.

    With ``flush`` it is text that was held back, as in `FlushToken`.
    """

    channel: Literal["thinking"] = "thinking"
    flush: bool | UnsetType = UNSET
    logprob: float | UnsetType | None = UNSET
    top_logprobs: list[TopLogprob] | UnsetType | None = UNSET


class ToolCallBegan(Reply, kw_only=True, tag="tool_call"):
    """The beginning of the answer's call ``index``; its arguments follow. It counts as no token."""

    seq: Count
    index: Count
    call_id: str
    name: str


class ToolCallArguments(Reply, kw_only=True, tag="tool_call"):
    """A fragment of the arguments of call ``index``; all fragments together are a JSON object."""

    seq: Count
    index: Count
    arguments: str


class Item(Reply, kw_only=True, tag="item", omit_defaults=True):
    """The result for one prompt of a `classify`. ``logprob`` is natural, in float32.

    An infinite number is null, such as the logit of a masked token.
    """

    index: Count
    token: str
    token_id: Count
    logprob: float | None
    logits: Sequence[float | None] | None = None
    labels: Mapping[str, float | None] | None = None


class BatchToken(Token, kw_only=True, tag="token"):
    """A token of one prompt of a `batch`; each ``index`` has its own ``seq``."""

    index: Count
    flush: bool = False
    logprob: float | None = None
    top_logprobs: list[TopLogprob] | None = None


class FailedItem(Reply, kw_only=True, tag="item"):
    """One prompt or text of a `classify`, `embed` or `score` that failed by itself."""

    index: Count
    error: ErrorBody


class BatchItem(Reply, kw_only=True, tag="item"):
    """The result for one prompt of a `batch`. If it has an ``error``, ``finish_reason`` is null."""

    index: Count
    text: str
    token_ids: list[Count]
    finish_reason: FinishReason | None
    tokens_generated: Count
    error: ErrorBody | None = None


class FormattedItem(BatchItem, kw_only=True, tag="item"):
    """The result for one prompt of a `batch` with a ``response_format``, as in `FormattedDone`."""

    complete: bool
    schema_valid: bool | None = None


class Result(Reply, kw_only=True, tag="result"):
    """The final reply to a command that does not stream."""

    final: Literal[True] = True


class Progress(Reply, kw_only=True, tag="progress"):
    """The progress of a stage, in the stage's own unit (bytes, tokens, steps, kernels)."""

    stage: str
    done: Annotated[float, Meta(ge=0)]
    total: Annotated[float, Meta(ge=0)]


class RequestMetrics(Struct, kw_only=True):
    """The cost of one request: counts in tokens, times in seconds, memory in bytes.

    ``decode_seconds`` is the time from the first token to the last, so ``decode_tokens_per_second``
    counts the tokens after the first.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_miss: str | None = None
    generated_tokens: int = 0
    thinking_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    total_seconds: float = 0.0
    first_token_seconds: float | None = None
    prefill_tokens_per_second: float = 0.0
    decode_tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0
    active_memory_bytes: int = 0
    batch_size: int = 0


class Done(Reply, kw_only=True, tag="done", omit_defaults=False):
    """The final reply of a stream that did not fail."""

    finish_reason: FinishReason
    tokens_generated: Count
    metrics: RequestMetrics
    final: Literal[True] = True
    done: Literal[True] = True


class FormattedDone(Done, kw_only=True, tag="done"):
    """The final reply of a request with a ``response_format``.

    ``complete`` is true if the text has the form whole, so that nothing is missing at its end.
    ``schema_valid`` tells if it is an instance of a schema that is not ``strict``, else it is null.
    """

    complete: bool
    schema_valid: bool | None = None


class ToolCall(Struct, kw_only=True):
    """A complete tool call. ``arguments`` is the text of a JSON object.

    ``arguments_error`` tells why the arguments do not fit the tool's ``parameters``; null if they do.
    """

    index: Count
    call_id: str
    name: str
    arguments: str
    arguments_error: str | None = None


class ToolError(Struct, kw_only=True):
    """A call that the model began and that did not become whole.

    ``index`` is null if no `ToolCallBegan` was sent for it. ``text`` is all that the model wrote of
    it; it also stands in the text of the answer, unless the call was ``cut_off`` by its end.
    """

    index: Count | None
    message: str
    text: str
    cut_off: bool = False


class ToolDone(Done, kw_only=True, tag="done"):
    """The final reply of a `chat` with ``tools``; the last call that failed is the ``tool_error``."""

    tool_calls: list[ToolCall]
    tool_error: ToolError | None = None


class CancelledDone(Done, kw_only=True, tag="done"):
    """The final reply of a request that was cancelled in stage ``stage``."""

    stage: CancelStage = "queued"


class CancelledTraining(CancelledDone, kw_only=True, tag="done"):
    """The final reply of a `train` that was cancelled after it had started.

    ``checkpoint`` is the folder to resume from, null if no checkpoint is whole; ``step`` its step.
    """

    checkpoint: str | None = None
    step: Count = 0


class Error(Struct, kw_only=True, tag_field="type", tag="error"):
    """The final reply of a request that failed; ``id`` is null if it could not be read."""

    id: str | None
    error: ErrorBody
    final: Literal[True] = True


class Event(Struct, kw_only=True, tag_field="type", tag="event"):
    """A message that answers no request. Only events that `hello` asked for are sent."""

    event: str
    id: None = None
    data: dict[str, Any] = {}
