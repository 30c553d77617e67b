"""The types of all messages that the worker sends in dialect 1 (SPEC §5).

Clients ignore unknown fields and unknown types that are not final, so both can be added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

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


class CancelledDone(Done, kw_only=True, tag="done"):
    """The final reply of a request that was cancelled in stage ``stage``."""

    stage: CancelStage = "queued"


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
