"""`classify`: one forward pass for each prompt, many prompts in one, and labels after them.

The portable form of ENGINE.md §6: all tokens but the last fill a cache, whose head is never
computed; the last goes through the whole model, so the head runs on one place of each prompt.
"""

from __future__ import annotations

import math
from typing import Any, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ..engine import Classified, ClassifyPrompts
from . import kv
from .prefix_tree import common_prefix
from .tokenizer import Tokenizer

GROUP_PROMPTS = 32
GROUP_TOKENS = 2048
PREFILL_TOKENS = 512


def classify_group(
    model: Any, policy: kv.CachePolicy, tokenizer: Tokenizer, prompts: ClassifyPrompts
) -> list[tuple[int, Classified]]:
    """Score the next prompts of like length; takes them off ``prompts.left``.

    Log-probabilities are natural and float32. A label's score is the sum over its tokens given
    the prompt; ``labels`` are those, normalised to sum to 1.
    """
    places = _next_group(prompts, batchable=policy.batchable)
    ids = [prompts.prompts[place] for place in places]
    with mx.stream(generation_stream):
        layers = _prefill(model, policy, [prompt[:-1] for prompt in ids])
        last = mx.array([prompt[-1:] for prompt in ids])
        rows = model(last, cache=layers)[:, -1, :].astype(mx.float32)
        logprobs = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        best = mx.argmax(rows, axis=-1)
        chosen = mx.take_along_axis(logprobs, best[:, None], axis=-1)[:, 0]
        mx.eval(rows, logprobs, best, chosen, kv.states(layers))
        scores = {
            label: _continuation(model, layers, logprobs, label_ids)
            for label, label_ids in prompts.labels.items()
        }
    best_ids, best_logprobs = cast(list[int], best.tolist()), cast(list[float], chosen.tolist())
    wanted: list[Any] = [None] * len(places)
    if prompts.request.logits:
        wanted = cast(list[Any], rows.tolist())
    return [
        (
            place,
            Classified(
                text=tokenizer.decode([best_ids[row]]),
                token_id=best_ids[row],
                logprob=best_logprobs[row],
                logits=wanted[row],
                labels=_normalised({k: v[row] for k, v in scores.items()}) if scores else None,
            ),
        )
        for row, place in enumerate(places)
    ]


def _next_group(prompts: ClassifyPrompts, *, batchable: bool) -> list[int]:
    """The longest that are left, as many as fit one pass."""
    longest = len(prompts.prompts[prompts.left[-1]])
    size = max(1, min(GROUP_PROMPTS, GROUP_TOKENS // longest)) if batchable else 1
    group = prompts.left[-size:]
    del prompts.left[-size:]
    return group


def _prefill(model: Any, policy: kv.CachePolicy, ids: list[list[int]]) -> kv.Layers:
    """Caches of some prompts: plain for one, batched for more."""
    shared = _shared_beginning(ids)
    first = policy.make()
    if shared:
        model(mx.array([ids[0][:shared]]), cache=first)
        mx.eval(kv.states(first))
    layers = first
    if len(ids) > 1:
        layers = kv.merge([first, *(kv.snapshot(first) for _ in ids[1:])])
    ids = [prompt[shared:] for prompt in ids]
    lengths = [len(prompt) for prompt in ids]
    longest = max(lengths)
    if not longest:
        return layers
    padding = [longest - length for length in lengths]
    padded = mx.array(
        [prompt + [0] * pad for prompt, pad in zip(ids, padding, strict=True)], dtype=mx.int32
    )
    for layer in layers if any(padding) else []:
        layer.prepare(lengths=lengths, right_padding=padding)
    for start in range(0, longest, PREFILL_TOKENS):
        model(padded[:, start : start + PREFILL_TOKENS], cache=layers)
        mx.eval(kv.states(layers))
    for layer in layers if any(padding) else []:
        layer.finalize()
    return layers


def _shared_beginning(ids: list[list[int]]) -> int:
    """Tokens that all prompts begin with, an instruction usually: computed once for all."""
    if len(ids) == 1:
        return 0
    shared = min(common_prefix(ids[0], other) for other in ids[1:])
    return min(shared, PREFILL_TOKENS)


def _continuation(
    model: Any, layers: kv.Layers, first: mx.array, ids: list[int]
) -> list[float]:
    """Log-probability of ``ids`` after each cached prompt, whose next-token rows are ``first``."""
    score = first[:, ids[0]]
    if len(ids) > 1:
        branch = kv.snapshot(layers)  # copy on write: the prompts' own caches stay as they are
        fed = mx.broadcast_to(mx.array(ids[:-1])[None], (first.shape[0], len(ids) - 1))
        rows = model(fed, cache=branch).astype(mx.float32)
        rows = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        targets = mx.broadcast_to(mx.array(ids[1:])[None, :, None], (*fed.shape, 1))
        score = score + mx.take_along_axis(rows, targets, axis=-1).sum(axis=(1, 2))
    return cast(list[float], score.tolist())


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Softmax over log-probabilities."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
