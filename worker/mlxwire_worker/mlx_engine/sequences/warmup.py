"""Compiles a model's kernels at load: they compile at their first use, 10 s on some GPUs."""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...engine import ProgressReport
from ...prompts import ClassifyPrompts, Detokenizer, Prompt, SamplingParams
from ..cache import kv
from ..cache.kv import CachePolicy
from ..cache.prompt_cache import PromptCache
from ..one_pass import scoring
from .prefill import ChunkSize
from .runner import Runner

PROMPT_TOKENS = 33
NEW_TOKENS = 3
PREFILL_LENGTHS = (2, 7, 16, 64, 128, 512)
SLOW_SECONDS, SLOW_SECONDS_CPU = 0.02, 0.005
"""A second pass of this length ends the warm-up of prefill: little is left to compile then.

A CPU has the same kernels for all lengths, so it needs few passes.
"""
_SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_p": 0.5, "top_k": 2, "min_p": 0.1, "repeat_penalty": 2.0},
)


def warm_up(model: Any, policy: CachePolicy, vocabulary: int, report: ProgressReport) -> None:
    """Run one request alone for each kind of sampling, then all kinds in one batch."""
    runner = Runner(model, policy, PromptCache(policy, budget=0), ChunkSize())
    rounds = [_SAMPLINGS[:1], _SAMPLINGS[1:2], _SAMPLINGS[2:]]
    if policy.batchable:
        rounds.append(_SAMPLINGS)
    _warm_prefill(model, policy, vocabulary)
    if policy.batchable and mx.default_device() != mx.cpu:
        _warm_classify(model, policy, vocabulary)
    for number, samplings in enumerate(rounds):
        report("warmup", number, len(rounds))
        prompts = [_prompt(vocabulary, place, each) for place, each in enumerate(samplings)]
        for prompt in prompts:
            runner.add(prompt)
        for _ in range(NEW_TOKENS + 1):
            runner.step()
        runner.remove(prompts)
    mx.synchronize()
    report("warmup", len(rounds), len(rounds))


def _warm_prefill(model: Any, policy: CachePolicy, vocabulary: int) -> None:
    """Compute prompts of growing length until one is slow: each shape has its own kernels."""
    slow = SLOW_SECONDS_CPU if mx.default_device() == mx.cpu else SLOW_SECONDS
    with mx.stream(generation_stream):
        for length in PREFILL_LENGTHS:
            ids = mx.array([[token % vocabulary for token in range(length)]])
            for again in range(2):
                started = time.perf_counter()
                layers = policy.make()
                model(ids, cache=layers)
                mx.eval(kv.states(layers))
                if again and time.perf_counter() - started > slow:
                    return


def _warm_classify(model: Any, policy: CachePolicy, vocabulary: int) -> None:
    """Classify full groups of short prompts: a GPU compiles their shapes, 0.1 s each."""
    chunk = ChunkSize()
    chunk.tokens = ChunkSize.LARGEST
    tools = scoring.Tools(model, policy, lambda _: "", chunk)
    for width in (1, 2):
        length = scoring.GPU_WIDTHS * width
        prompts = [
            [(place + token) % vocabulary for token in range(length + 1)]
            for place in range(scoring.GROUP_PROMPTS)
        ]
        work = ClassifyPrompts(prompts=prompts, labels={})
        done = 0
        while done < len(prompts):
            done += len(scoring.classify_slice(tools, work))


def _prompt(vocabulary: int, place: int, sampling: dict[str, Any]) -> Prompt:
    ids = [(place + token) % vocabulary for token in range(PROMPT_TOKENS - place)]
    return Prompt(
        ids=ids,
        max_tokens=NEW_TOKENS + 2,
        stop_ids=frozenset(),
        detokenizer=_Mute(),
        params=SamplingParams(cache=False, seed=0, **sampling),
    )


class _Mute(Detokenizer):
    """A detokenizer that returns no text."""

    def add_token(self, token: int) -> str:
        return ""

    def text_of(self, token: int) -> str:
        return ""

    def finalize(self) -> str:
        return ""
