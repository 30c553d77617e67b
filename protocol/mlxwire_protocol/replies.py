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
CancelOutcome = Literal["accepted", "finished", "unknown"]


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


class Progress(Reply, kw_only=True, tag="progress"):
    """The progress of a stage, in the stage's own unit (bytes, tokens, steps)."""

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


class CancelledDone(Done, kw_only=True, tag="done"):
    """The final reply of a request that was cancelled in stage ``stage``."""

    stage: CancelStage = "queued"


class Error(Struct, kw_only=True, tag_field="type", tag="error"):
    """The final reply of a request that failed; ``id`` is null if it could not be read."""

    id: str | None
    error: ErrorBody
    final: Literal[True] = True


class Result(Reply, kw_only=True, tag="result"):
    """The final reply to a command that does not stream."""

    final: Literal[True] = True


class OkResult(Result, kw_only=True, tag="result"):
    """The answer to `quit` and `unload`."""

    ok: Literal[True] = True


class WorkerIdentity(Struct, kw_only=True):
    """The worker's name, version, process id and engine."""

    name: str
    version: str
    pid: int
    engine: Literal["mlx", "mock"]


class Limits(Struct, kw_only=True):
    """The limits that the worker enforces: bytes of a line, requests in flight."""

    max_line_bytes: int
    max_inflight: int


class HelloResult(Result, kw_only=True, tag="result"):
    """The answer to `hello`."""

    protocol: int
    worker: WorkerIdentity
    capabilities: dict[str, Any]
    limits: Limits
    events: list[str] = []


class ModelInfo(Struct, kw_only=True):
    """The loaded model, described by its modules rather than by its config.

    ``quant_bits`` and ``quant_group`` are 0 if nothing is quantized; ``context_len`` is in tokens,
    ``weight_bytes`` in bytes; ``parameters`` counts weights before packing.
    """

    model_type: str
    vocab_size: int
    layers: int
    hidden_size: int
    context_len: int
    quant_bits: int
    quant_group: int
    parameters: int
    weight_bytes: int
    path: str
    adapter_path: str | None
    chat_template: bool
    parallel_slots: int
    capabilities: dict[str, Any]


class InfoResult(ModelInfo, kw_only=True, tag_field="type", tag="result"):
    """The answer to `info`."""

    id: str
    final: Literal[True] = True


class LoadResult(InfoResult, kw_only=True, tag="result"):
    """The answer to `load`: the fields of `info`, and the duration of the load."""

    ok: Literal[True] = True
    load_seconds: float = 0.0


class CreditResult(Result, kw_only=True, tag="result"):
    """The answer to `credit`: messages that the target may be sent now, 0 if it has ended."""

    credit: Count


class CacheResult(Result, kw_only=True, tag="result"):
    """The answer to `cache`: sequences, bytes, and counts since the model was loaded.

    ``affected`` is the number of sequences that the action dropped, saved or loaded, or of tokens
    that it warmed.
    """

    entries: Count
    cached_bytes: Count
    limit_bytes: Count
    hits: Count
    misses: Count
    reused_tokens: Count
    evictions: Count
    rejected: Count
    affected: Count = 0


class MemoryResult(Result, kw_only=True, tag="result"):
    """The answer to `memory`, in bytes. ``buffer_bytes`` are kept by MLX for reuse; a limit of 0
    means none."""

    active_bytes: Count
    peak_bytes: Count
    buffer_bytes: Count
    sequence_bytes: Count
    prompt_cache_bytes: Count
    memory_limit: Count
    prompt_cache_limit: Count
    buffer_limit: Count
    wired_limit: Count
    bytes_per_token: Count


class CancelResult(Result, kw_only=True, tag="result"):
    """The answer to `cancel`. The target's own final reply follows under the target's id."""

    outcome: CancelOutcome
    cancelled: int = 0


class WorkerMetrics(Struct, kw_only=True):
    """Totals since the worker started, and its present state, in seconds, tokens and bytes."""

    requests: int = 0
    in_flight: int = 0
    queued: int = 0
    cancelled: int = 0
    errors: int = 0
    uptime_seconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prefill_tokens_per_second: float = 0.0
    decode_tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0
    active_memory_bytes: int = 0
    batch_size: int = 0


class MetricsResult(WorkerMetrics, kw_only=True, tag_field="type", tag="result"):
    """The answer to `metrics`."""

    id: str
    final: Literal[True] = True


class Event(Struct, kw_only=True, tag_field="type", tag="event"):
    """A message that answers no request. Only events that `hello` asked for are sent."""

    event: str
    id: None = None
    data: dict[str, Any] = {}


REPLY_TYPES: tuple[type[Struct], ...] = (
    Token,
    FlushToken,
    LogprobToken,
    BatchToken,
    Item,
    BatchItem,
    Progress,
    Done,
    CancelledDone,
    Error,
    OkResult,
    HelloResult,
    InfoResult,
    LoadResult,
    CancelResult,
    CreditResult,
    CacheResult,
    MemoryResult,
    MetricsResult,
    Event,
)
