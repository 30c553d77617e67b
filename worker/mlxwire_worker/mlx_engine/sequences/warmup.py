"""Compiles a model's kernels at load: they compile at their first use, 10 s on some GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...engine import ProgressReport
from ...passes import ClassifyPrompts, Endings
from ...prompts import Detokenizer, Prompt, SamplingParams
from ..cache import kv
from ..cache.policy import CachePolicy
from ..cache.prompt_cache import PromptCache
from ..one_pass import groups
from ..one_pass.classifying import classify_slice
from .prefill import ChunkSize
from .runner import Runner

PROMPT_TOKENS = 33
NEW_TOKENS = 3
PREFILL_LENGTHS = (2, 7, 16, 64, 128, 512)
SLOW_SECONDS, SLOW_SECONDS_CPU = 0.02, 0.005
"""A second pass of this length ends the warm-up of prefill: little is left to compile then.

A CPU has the same kernels for all lengths, so it needs few passes.
"""
_Step = Callable[[], None]
_SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_p": 0.5, "top_k": 2, "min_p": 0.1, "repeat_penalty": 2.0},
)


def warm_up(model: Any, policy: CachePolicy, vocabulary: int, report: ProgressReport) -> None:
    """Compute prompts of several lengths, classify, and generate with each kind of sampling."""
    steps = [
        *_prefills(model, policy, vocabulary),
        *_classifications(model, policy, vocabulary),
        *_generations(model, policy, vocabulary),
    ]
    for number, step in enumerate(steps):
        report("warmup", number, len(steps))
        step()
    mx.synchronize()
    report("warmup", len(steps), len(steps))


def _prefills(model: Any, policy: CachePolicy, vocabulary: int) -> Iterator[_Step]:
    """Yield prompts of growing length until one is slow: each shape has its own kernels."""
    slow = SLOW_SECONDS_CPU if mx.default_device() == mx.cpu else SLOW_SECONDS
    ended = False

    def prefill(length: int) -> None:
        nonlocal ended
        if ended:
            return
        ids = mx.array([[token % vocabulary for token in range(length)]])
        started = 0.0
        for _ in range(2):
            started = time.perf_counter()
            layers = policy.make()
            with mx.stream(generation_stream):
                model(ids, cache=layers)
                mx.eval(kv.states(layers))
        ended = time.perf_counter() - started > slow

    for length in PREFILL_LENGTHS:
        yield partial(prefill, length)


def _classifications(model: Any, policy: CachePolicy, vocabulary: int) -> Iterator[_Step]:
    """Yield full groups of short prompts to classify: a GPU compiles their shapes, 0.1 s each."""
    if not policy.batchable or mx.default_device() == mx.cpu:
        return
    chunk = ChunkSize()
    chunk.tokens = ChunkSize.LARGEST
    tools = groups.Tools(model, policy, lambda _: "", chunk)

    def classify(width: int) -> None:
        length = groups.GPU_WIDTHS * width
        prompts = [
            [(place + token) % vocabulary for token in range(length + 1)]
            for place in range(groups.GROUP_TEXTS)
        ]
        endings = [Endings(((0,), (0, 0)))] * len(prompts)
        work = ClassifyPrompts(ids=prompts, labels=["short", "long"], endings=endings)
        done = 0
        while done < len(prompts):
            done += len(classify_slice(tools, work))

    for width in (1, 2):
        yield partial(classify, width)


def _generations(model: Any, policy: CachePolicy, vocabulary: int) -> Iterator[_Step]:
    """Yield one request alone for each kind of sampling, then all kinds in one batch."""
    runner = Runner(model, policy, PromptCache(policy, budget=0), ChunkSize())

    def generate(samplings: Sequence[dict[str, Any]]) -> None:
        prompts = [_prompt(vocabulary, place, each) for place, each in enumerate(samplings)]
        for prompt in prompts:
            runner.add(prompt)
        for _ in range(NEW_TOKENS):
            runner.step()
        runner.remove(prompts[:-2])  # two rows that are left have kernels of their own
        runner.step()
        runner.remove(prompts)

    for sampling in _SAMPLINGS:
        yield partial(generate, [sampling])
    if policy.batchable:
        yield partial(generate, _SAMPLINGS)


def _prompt(vocabulary: int, place: int, sampling: dict[str, Any]) -> Prompt:
    ids = [(place + token) % vocabulary for token in range(PROMPT_TOKENS - place)]
    return Prompt(
        ids=ids,
        max_tokens=NEW_TOKENS + 2,
        stop_ids=frozenset(),
        detokenizer=Mute(),
        params=SamplingParams(cache=False, seed=0, **sampling),
    )


class Mute(Detokenizer):
    """A detokenizer that returns no text."""

    def add_token(self, token: int) -> str:
        return ""

    def text_of(self, token: int) -> str:
        return ""

    def finalize(self) -> str:
        return ""
