"""Every message that the worker sends in dialect 1, as a type (SPEC §5).

Clients ignore unknown fields and unknown types that are not final, so these grow by adding.
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
    """A typed failure; ``code`` is one of SPEC §6."""

    code: str
    message: str
    retryable: bool = False
    data: dict[str, Any] = {}


class Reply(Struct, kw_only=True, tag_field="type", omit_defaults=False):
    """What every reply has: the id of its request."""

    id: str


class Token(Reply, kw_only=True, tag="token"):
    """One generated token. ``token`` is its text piece, which may be empty.

    A piece with ``flush`` was held back until the end: it has the last token's id, and is not
    counted.
    """

    seq: Count
    token: str
    token_id: Count


class FlushToken(Token, kw_only=True, tag="token"):
    """Text that was held back (an unfinished character or stop string) and came at the end."""

    flush: Literal[True] = True


class TopLogprob(Struct, kw_only=True):
    """One of the likeliest tokens at a place; null where its probability is 0."""

    token: str
    token_id: Count
    logprob: float | None


class LogprobToken(Token, kw_only=True, tag="token"):
    """A token with its natural log-probability in float32, by the model's own distribution
    before penalties and temperature; ``top_logprobs`` likeliest first, null if not asked for."""

    logprob: float | None
    top_logprobs: list[TopLogprob] | None = None


class Item(Reply, kw_only=True, tag="item", omit_defaults=True):
    """One prompt of a `classify` is complete. ``logprob`` is natural, in float32.

    Null stands where a number is infinite, as the logit of a masked token is.
    """

    index: Count
    token: str
    token_id: Count
    logprob: float | None
    logits: Sequence[float | None] | None = None
    labels: Mapping[str, float | None] | None = None


class BatchToken(Token, kw_only=True, tag="token"):
    """A token of one prompt of a `batch`; ``seq`` counts for each ``index`` by itself."""

    index: Count
    flush: bool = False
    logprob: float | None = None
    top_logprobs: list[TopLogprob] | None = None


class BatchItem(Reply, kw_only=True, tag="item"):
    """One prompt of a `batch` is complete. ``error`` is null, or this prompt's own failure;
    then ``finish_reason`` is null."""

    index: Count
    text: str
    token_ids: list[Count]
    finish_reason: FinishReason | None
    tokens_generated: Count
    error: ErrorBody | None = None


class Progress(Reply, kw_only=True, tag="progress"):
    """How far a stage has come, in the stage's own unit (bytes, tokens, steps)."""

    stage: str
    done: Annotated[float, Meta(ge=0)]
    total: Annotated[float, Meta(ge=0)]


class RequestMetrics(Struct, kw_only=True):
    """What one request took: counts in tokens, times in seconds, memory in bytes.

    ``decode_seconds`` runs from the first token to the last, so ``decode_tokens_per_second``
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
    """The end of a stream that did not fail."""

    finish_reason: FinishReason
    tokens_generated: Count
    metrics: RequestMetrics
    final: Literal[True] = True
    done: Literal[True] = True


class CancelledDone(Done, kw_only=True, tag="done"):
    """The end of a stream that was cancelled, and how far it had come."""

    stage: CancelStage = "queued"


class Error(Struct, kw_only=True, tag_field="type", tag="error"):
    """The end of a request that failed; ``id`` is null where the line's id was unreadable."""

    id: str | None
    error: ErrorBody
    final: Literal[True] = True


class Result(Reply, kw_only=True, tag="result"):
    """The answer to a command that does not stream."""

    final: Literal[True] = True


class OkResult(Result, kw_only=True, tag="result"):
    """The answer to `quit` and `unload`."""

    ok: Literal[True] = True


class WorkerIdentity(Struct, kw_only=True):
    """Which worker answers."""

    name: str
    version: str
    pid: int
    engine: Literal["mlx", "mock"]


class Limits(Struct, kw_only=True):
    """Sizes that the worker enforces: bytes of a line, requests in flight."""

    max_line_bytes: int
    max_inflight: int


class HelloResult(Result, kw_only=True, tag="result"):
    """The worker's side of the handshake."""

    protocol: int
    worker: WorkerIdentity
    capabilities: dict[str, Any]
    limits: Limits
    events: list[str] = []


class ModelInfo(Struct, kw_only=True):
    """What is loaded, as its modules really are.

    ``quant_bits`` and ``quant_group`` are 0 where nothing is quantized; ``context_len`` is in
    tokens, ``weight_bytes`` in bytes, ``parameters`` counts weights before packing.
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
    """The answer to `load`: all that `info` says, and how long it took."""

    ok: Literal[True] = True
    load_seconds: float = 0.0


class CreditResult(Result, kw_only=True, tag="result"):
    """``credit`` is what the target may still be sent now; 0 if it is not in flight."""

    credit: Count


class CacheResult(Result, kw_only=True, tag="result"):
    """The prompt cache: sequences, bytes, and counts since the model was loaded. ``affected``
    is how many sequences the action dropped, saved or loaded, or tokens it warmed."""

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
    """Bytes: in use, at the peak, kept by MLX for reuse, held by sequences and by the prompt
    cache; and the limits in force, 0 for none."""

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
    """Whether the target could still be cancelled; its own final follows in its own stream."""

    outcome: CancelOutcome
    cancelled: int = 0


class WorkerMetrics(Struct, kw_only=True):
    """Sums over the worker's life, and its state now. Seconds, tokens and bytes."""

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
    """Something the worker says unasked; only events that `hello` asked for are sent."""

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
