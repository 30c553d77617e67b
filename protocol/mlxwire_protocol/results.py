"""The replies to commands that do not stream, as types (SPEC §5)."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from .messages import AdapterFormat, Count
from .models.replies import BrokenModel, FitResult, FoundModel
from .replies import (
    BatchItem,
    BatchToken,
    CancelledDone,
    CancelledTraining,
    Done,
    Error,
    Event,
    FailedItem,
    FlushToken,
    FormattedDone,
    FormattedItem,
    Item,
    LogprobToken,
    Progress,
    Result,
    ThinkingToken,
    Token,
    ToolCallArguments,
    ToolCallBegan,
    ToolDone,
)
from .texts.replies import EmbeddingItem, RenderResult, RerankResult, ScoreItem
from .training.replies import EvaluateResult, TrainProgress, TrainResult

CancelOutcome = Literal["accepted", "finished", "unknown"]


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


class AdapterInfo(Struct, kw_only=True):
    """A loaded adapter: the modules that it changes, its numbers, and its bytes in memory.

    ``rank`` and ``scale`` are the largest of its modules.
    """

    name: str
    path: str
    format: AdapterFormat
    method: Literal["lora", "dora"]
    rank: int
    scale: float
    modules: int
    parameters: int
    bytes: int


class ModelInfo(Struct, kw_only=True):
    """The description of the loaded model, taken from its modules and not from its config.

    ``quant_bits`` and ``quant_group`` are those of the stored weights, 0 if nothing is quantized;
    ``context_len`` is in tokens, ``weight_bytes`` are held in memory; ``parameters`` counts weights
    before packing. ``blas`` is the library in place of MLX's own BLAS, None without one, and
    ``blas_threads`` its threads, 0 if they are not known. ``adapters`` are those that requests may name.
    ``quant_mode`` is that of the quantized weights, empty without any; ``pooling`` is that of an
    embedding model, None otherwise.
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
    compute_dtype: str = ""
    blas: str | None = None
    blas_threads: int = 0
    adapters: list[AdapterInfo] = []
    quant_mode: str = ""
    pooling: str | None = None


class InfoResult(ModelInfo, kw_only=True, tag_field="type", tag="result"):
    """The answer to `info`."""

    id: str
    final: Literal[True] = True


class LoadResult(InfoResult, kw_only=True, tag="result"):
    """The answer to `load`: the fields of `info`, the duration of the load, and ``warnings``.

    A warning is a sentence for people: an option has no effect, or something makes the model slow.
    """

    ok: Literal[True] = True
    load_seconds: float = 0.0
    warnings: list[str] = []


class CreditResult(Result, kw_only=True, tag="result"):
    """The answer to `credit`: how many messages the target may now be sent; 0 after its end."""

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


class AdapterResult(Result, kw_only=True, tag="result"):
    """The answer to `adapter`: all adapters that are loaded after it."""

    adapters: list[AdapterInfo]


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


class TokenizeResult(Result, kw_only=True, tag="result"):
    """The answer to `tokenize`. With `count_only`, ``ids`` and ``pieces`` are null.

    ``pieces`` are the tokens' texts, each by itself: half a character is U+FFFD.
    """

    ids: list[Count] | None
    count: Count
    pieces: list[str] | None


class InspectResult(Result, kw_only=True, tag="result"):
    """The answer to `inspect`: the file, the layers in it, and their shapes.

    ``heads`` are those of the keys; the counts are of the first layer, if layers differ.
    """

    path: str
    model_type: str
    layers: list[Count]
    heads: Count
    query_heads: Count
    head_dim: Count
    tokens: Count


class DetokenizeResult(Result, kw_only=True, tag="result"):
    """The answer to `detokenize`."""

    text: str


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


REPLY_TYPES: tuple[type[Struct], ...] = (
    Token,
    FlushToken,
    LogprobToken,
    ThinkingToken,
    BatchToken,
    ToolCallBegan,
    ToolCallArguments,
    Item,
    BatchItem,
    FormattedItem,
    FailedItem,
    EmbeddingItem,
    ScoreItem,
    FoundModel,
    BrokenModel,
    Progress,
    TrainProgress,
    Done,
    FormattedDone,
    ToolDone,
    CancelledDone,
    CancelledTraining,
    Error,
    OkResult,
    HelloResult,
    InfoResult,
    LoadResult,
    TokenizeResult,
    DetokenizeResult,
    RenderResult,
    RerankResult,
    FitResult,
    InspectResult,
    CancelResult,
    CreditResult,
    CacheResult,
    AdapterResult,
    TrainResult,
    EvaluateResult,
    MemoryResult,
    MetricsResult,
    Event,
)
"""The type of every message that the worker sends in dialect 1."""
