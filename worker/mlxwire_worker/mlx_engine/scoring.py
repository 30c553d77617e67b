"""`classify`: one forward pass per prompt, its next token, and labels as continuations."""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream
from mlx_lm.models.cache import make_prompt_cache

from ..engine import Classified, ClassifyPrompts

PREFILL_TOKENS = 512


def classify(model: Any, tokenizer: Any, prompts: ClassifyPrompts, index: int) -> Classified:
    """Score one prompt.

    The head runs on the last position alone; log-probabilities are float32. A label's score
    is the sum over its tokens, given the prompt; ``labels`` are those, normalised to sum to 1.
    """
    ids = prompts.prompts[index]
    with mx.stream(generation_stream):
        cache = make_prompt_cache(model)
        for start in range(0, len(ids) - 1, PREFILL_TOKENS):
            chunk = mx.array(ids[start : min(start + PREFILL_TOKENS, len(ids) - 1)])
            model(chunk[None], cache=cache)
            mx.eval([layer.state for layer in cache])
        row = model(mx.array(ids[-1:])[None], cache=cache)[0, -1, :].astype(mx.float32)
        logprobs = row - mx.logsumexp(row)
        token = mx.argmax(row)
        mx.eval(row, logprobs, token, [layer.state for layer in cache])
        token_id = cast(int, token.item())
        scores = {
            label: _continuation(model, cache, logprobs, label_ids)
            for label, label_ids in prompts.labels.items()
        }
        return Classified(
            text=tokenizer.decode([token_id]),
            token_id=token_id,
            logprob=cast(float, logprobs[token_id].item()),
            logits=row.tolist() if prompts.request.logits else None,
            labels=_normalised(scores) if scores else None,
        )


def _continuation(model: Any, cache: list[Any], first: mx.array, ids: list[int]) -> float:
    """Log-probability of ``ids`` after the cached prompt, whose next-token row is ``first``."""
    score = cast(float, first[ids[0]].item())
    if len(ids) == 1:
        return score
    branch = copy.deepcopy(cache)  # copy on write: the prompt's own cache stays as it is
    rows = model(mx.array(ids[:-1])[None], cache=branch)[0].astype(mx.float32)
    rows = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
    targets = mx.array(ids[1:])
    rest = mx.take_along_axis(rows, targets[:, None], axis=-1).sum()
    return score + cast(float, rest.item())


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Softmax over log-probabilities."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
