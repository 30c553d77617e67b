"""`score`: the log-probability of each token of a text, given those before it.

A pass gives the logits of all its tokens at once, and those of a long text fill the memory: 4,096
tokens of a vocabulary of 152,000 have 2.5 GB. So a slice has as many tokens as its logits allow, and
only the tokens' own log-probabilities are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from typing import cast

import mlx.core as mx

from ...passes import Scored, Texts
from ..cache import kv
from ..models.soundness import NoNumbers
from .groups import GROUP_TOKENS, Group, Tools, cut, next_group, shared_beginning
from .stepping import Work, next_results

LOGITS_BYTES = 128 << 20
"""The largest logits of one slice, in float32."""


def score_slice(tools: Tools, texts: Texts, vocabulary: int) -> list[tuple[int, Scored]]:
    """Compute one slice; return (index, result) pairs if it completes a group, else none.

    ``vocabulary`` is the width of the model's logits.
    """
    return next_results(texts, lambda: _score_all(tools, texts.ids, texts.left, vocabulary))


def _score_all(
    tools: Tools, ids: list[list[int]], left: list[int], vocabulary: int
) -> Work[Scored]:
    """Compute the texts, group by group. Shortens ``left``."""
    if single := [place for place in left if len(ids[place]) == 1]:
        left[:] = [place for place in left if len(ids[place]) > 1]
        yield [(place, Scored([])) for place in single]
    if not left:
        return
    most = max(1, min(GROUP_TOKENS, LOGITS_BYTES // (4 * vocabulary)))
    # The last token that all share is computed with each text: different ones follow it.
    shared = max(shared_beginning([ids[place] for place in left]) - 1, 0)
    first = tools.policy.make()
    begun: list[float] = []
    if shared:
        beginning = ids[left[0]][: shared + 1]
        blocks = cut(tools, mx.array([beginning[:-1]]), most)
        (begun,) = yield from _logprobs(tools, first, blocks, [beginning])
    while left:
        places = next_group(
            left, lambda place: len(ids[place]), policy=tools.policy, tokens=most
        )
        rows = [ids[place][shared:] for place in places]
        group = Group(tools, first, rows)
        blocks = group.blocks([row[:-1] for row in rows], most)
        scores = yield from _logprobs(tools, group.layers, blocks, rows)
        yield [(place, Scored(begun + own)) for place, own in zip(places, scores, strict=True)]


def _logprobs(
    tools: Tools, layers: kv.Layers, blocks: Iterator[mx.array], rows: list[list[int]]
) -> Generator[None, None, list[list[float]]]:
    """Compute rows, block by block; return the log-probabilities of each row's tokens but its first.

    ``blocks`` [B, T] have all tokens of the rows but the last, and padding.
    """
    found: list[list[float]] = [[] for _ in rows]
    start = 0
    for block in blocks:
        width = block.shape[1]
        following = kv.padded([row[start + 1 : start + 1 + width] for row in rows], width)
        # The dtype of the index in `classify` too: a GPU compiles a kernel for each, for 5 s.
        following = following.astype(mx.uint32)
        began = time.perf_counter()
        logits = tools.model(block, cache=layers).astype(mx.float32)
        chosen = mx.take_along_axis(logits, following[:, :, None], axis=-1)[:, :, 0]
        total = mx.logsumexp(logits, axis=-1)
        # An infinite logit makes the total infinite: that is an overflow, and no probability of 0.
        chosen = mx.where(mx.isinf(total), mx.nan, chosen - total)
        mx.eval(chosen, kv.states(layers))
        tools.chunk.learn(block.size, time.perf_counter() - began)
        for own, new in zip(found, cast(list[list[float]], chosen.tolist()), strict=True):
            own += new
        start += width
        yield
    scores = [own[: len(row) - 1] for own, row in zip(found, rows, strict=True)]
    if any(math.isnan(sum(own)) for own in scores):
        raise NoNumbers
    return scores
