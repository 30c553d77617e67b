"""Runs what a first request would wait for: kernels compile on first use, 10 s on some GPUs."""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from mlxwire_protocol.messages import Classify, Generate

from ...engine import ClassifyPrompts, Detokenizer, ProgressReport, Prompt
from ..cache import kv
from ..cache.kv import CachePolicy
from ..cache.prompt_cache import PromptCache
from ..one_pass import scoring
from .chunks import ChunkSize
from .runner import Runner

PROMPT_TOKENS = 33
NEW_TOKENS = 3
PREFILL_LENGTHS = (2, 7, 16, 64, 128, 512)
SLOW_SECONDS = 0.02
"""Where a second pass takes this long, computing outweighs what is left to compile."""
_SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_p": 0.5, "top_k": 2, "min_p": 0.1, "repeat_penalty": 2.0},
)


def warm_up(model: Any, policy: CachePolicy, vocabulary: int, report: ProgressReport) -> None:
    """One request alone, then several together, each kind of sampling among them."""
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
    """Prompts of growing length, while they are fast: each shape has kernels of its own."""
    with mx.stream(generation_stream):
        for length in PREFILL_LENGTHS:
            ids = mx.array([[token % vocabulary for token in range(length)]])
            for again in range(2):
                started = time.perf_counter()
                layers = policy.make()
                model(ids, cache=layers)
                mx.eval(kv.states(layers))
                if again and time.perf_counter() - started > SLOW_SECONDS:
                    return


def _warm_classify(model: Any, policy: CachePolicy, vocabulary: int) -> None:
    """Full groups of short prompts: on a GPU their shapes are compiled, 0.1 s each."""
    chunk = ChunkSize()
    chunk.tokens = ChunkSize.LARGEST
    tools = scoring.Tools(model, policy, lambda _: "", chunk)
    for width in (1, 2):
        length = scoring.GPU_WIDTHS * width
        prompts = [
            [(place + token) % vocabulary for token in range(length + 1)]
            for place in range(scoring.GROUP_PROMPTS)
        ]
        request = Classify(id="warmup", prompts=["-"])
        work = ClassifyPrompts(prompts=prompts, labels={}, request=request)
        done = 0
        while done < len(prompts):
            done += len(scoring.classify_slice(tools, work))


def _prompt(vocabulary: int, place: int, sampling: dict[str, Any]) -> Prompt:
    request = Generate(id="warmup", prompt="-", cache=False, seed=0, **sampling)
    ids = [(place + token) % vocabulary for token in range(PROMPT_TOKENS - place)]
    return Prompt(
        ids=ids,
        max_tokens=NEW_TOKENS + 2,
        stop_ids=frozenset(),
        detokenizer=_Mute(),
        request=request,
    )


class _Mute(Detokenizer):
    """The text of warming up is nobody's."""

    def add_token(self, token: int) -> str:
        return ""

    def text_of(self, token: int) -> str:
        return ""

    def finalize(self) -> str:
        return ""
