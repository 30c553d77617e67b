"""One example of every message; a reply is as the worker builds it."""

from __future__ import annotations

from typing import Any

import msgspec

from mlxwire_protocol.replies import (
    BatchItem,
    BatchToken,
    CancelledDone,
    Done,
    Error,
    ErrorBody,
    Event,
    FlushToken,
    Item,
    LogprobToken,
    Progress,
    RequestMetrics,
    Token,
    TopLogprob,
)
from mlxwire_protocol.results import (
    CacheResult,
    CancelResult,
    CreditResult,
    DetokenizeResult,
    HelloResult,
    InfoResult,
    InspectResult,
    Limits,
    LoadResult,
    MemoryResult,
    MetricsResult,
    OkResult,
    TokenizeResult,
    WorkerIdentity,
)

REQUESTS: list[dict[str, Any]] = [
    {"id": "h", "cmd": "hello", "protocols": [1], "client": {"name": "c", "version": "1"},
     "require": ["generate"], "events": ["heartbeat"]},
    {"id": "a", "cmd": "load", "path": "m", "context_len": 128, "adapter_path": "l",
     "parallel_slots": 4, "warmup": False},
    {"id": "a", "cmd": "unload"},
    {"id": "a", "cmd": "info"},
    {"id": "a", "cmd": "generate", "prompt": "x", "max_tokens": 5, "temperature": 0.7,
     "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repeat_penalty": 1.1, "seed": 7, "stop": ["\n"],
     "stop_tokens": [2], "ignore_eos": True, "min_tokens": 1, "presence_penalty": 0.5,
     "frequency_penalty": -0.5, "penalty_window": 64, "logit_bias": {"7": -100},
     "xtc_probability": 0.5, "xtc_threshold": 0.2, "logprobs": True, "top_logprobs": 1,
     "cache": False},
    {"id": "a", "cmd": "chat", "messages": [{"role": "user", "content": "x"}], "thinking": False},
    {
        "id": "a",
        "cmd": "chat",
        "messages": [{"role": "user", "content": "x"}],
        "special_tokens": True,
    },
    {"id": "a", "cmd": "classify", "prompts": ["x"], "logits": True, "labels": ["yes", "no"]},
    {"id": "a", "cmd": "batch", "prompts": ["x"], "stream": True, "window": 5,
     "deadline_seconds": 1.5},
    {"id": "a", "cmd": "tokenize", "text": "x", "special_tokens": False, "count_only": True},
    {"id": "a", "cmd": "tokenize", "messages": [{"role": "user", "content": "x"}],
     "thinking": True},
    {"id": "a", "cmd": "detokenize", "ids": [1, 2]},
    {"id": "a", "cmd": "inspect", "prompt": "x", "path": "p", "layers": [0]},
    {"id": "a", "cmd": "cancel", "target": "b"},
    {"id": "a", "cmd": "credit", "target": "b", "n": 5},
    {"id": "a", "cmd": "cache", "action": "warm", "prompt": "x"},
    {"id": "a", "cmd": "memory", "memory_limit": 5, "clear": True},
    {"id": "a", "cmd": "metrics"},
    {"id": "a", "cmd": "quit"},
]  # fmt: skip

_MODEL: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 512, "layers": 4, "hidden_size": 64, "context_len": 256,
    "quant_bits": 4, "quant_group": 64, "parameters": 1, "weight_bytes": 4, "path": "x",
    "adapter_path": None, "chat_template": True, "parallel_slots": 4, "capabilities": {"x": 1},
}  # fmt: skip
_METRICS = RequestMetrics(first_token_seconds=0.5, cache_miss="new prompt")

REPLIES: list[msgspec.Struct] = [
    Token(id="a", seq=0, token="x", token_id=1),
    FlushToken(id="a", seq=1, token="", token_id=1),
    LogprobToken(id="a", seq=2, token="x", token_id=1, logprob=-0.5, top_logprobs=[
        TopLogprob(token="x", token_id=1, logprob=-0.5),
        TopLogprob(token="y", token_id=2, logprob=float("-inf"))]),
    Item(id="a", index=0, token="x", token_id=1, logprob=-0.5, logits=[float("-inf"), 0.5],
         labels={"yes": 0.5}),
    BatchToken(id="a", index=0, seq=0, token="x", token_id=1),
    BatchItem(id="a", index=0, text="x", token_ids=[1], finish_reason="stop",
              tokens_generated=1),
    Progress(id="a", stage="load", done=1, total=2.5),
    TokenizeResult(id="a", ids=[1, 2], count=2, pieces=["x", "y"]),
    DetokenizeResult(id="a", text="xy"),
    InspectResult(id="a", path="p", model_type="m", layers=[0], heads=1, query_heads=2,
                  head_dim=4, tokens=3),
    Done(id="a", finish_reason="stop", tokens_generated=1, metrics=_METRICS),
    CancelledDone(id="a", finish_reason="cancelled", stage="prefill", tokens_generated=0,
                  metrics=RequestMetrics()),
    Error(id=None, error=ErrorBody(code="parse_error", message="x")),
    OkResult(id="a"),
    HelloResult(
        id="h",
        protocol=1,
        worker=WorkerIdentity(name="w", version="1", pid=1, engine="mock"),
        capabilities={"generate": True},
        limits=Limits(max_line_bytes=1, max_inflight=1),
    ),
    InfoResult(id="a", **_MODEL),
    LoadResult(id="a", load_seconds=0.5, warnings=["slow"], **_MODEL),
    CancelResult(id="a", outcome="finished"),
    CreditResult(id="a", credit=5),
    CacheResult(id="a", entries=1, cached_bytes=1, limit_bytes=1, hits=1, misses=1,
                reused_tokens=1, evictions=1, rejected=1),
    MemoryResult(id="a", active_bytes=1, peak_bytes=1, buffer_bytes=1, sequence_bytes=1,
                 prompt_cache_bytes=1, memory_limit=1, prompt_cache_limit=1, buffer_limit=1,
                 wired_limit=1, bytes_per_token=1),
    MetricsResult(id="a"),
    Event(event="heartbeat"),
]  # fmt: skip
