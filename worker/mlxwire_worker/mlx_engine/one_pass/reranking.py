"""`rerank` by a causal model: the probability of yes against no, at the end of a prompt for each pair."""

from __future__ import annotations

import math
from typing import cast

import mlx.core as mx

from ...passes import Texts
from ..models.soundness import NoNumbers
from .groups import Group, Tools, fill, next_group, shared_beginning
from .reranker import Reranker
from .stepping import Work, next_results


def rerank_slice(tools: Tools, pairs: Texts) -> list[tuple[int, float]]:
    """Compute one slice; return (index, score) pairs if it completes a group, else none."""
    return next_results(pairs, lambda: _rerank_all(tools, pairs.ids, pairs.left, pairs.options))


def _rerank_all(
    tools: Tools, ids: list[list[int]], left: list[int], reranker: Reranker
) -> Work[float]:
    """Compute the pairs, group by group. Shortens ``left``."""
    shared = shared_beginning(ids)
    first = tools.policy.make()
    if shared:
        yield from fill(tools, first, mx.array([ids[0][:shared]]))
    while left:
        places = next_group(left, lambda place: len(ids[place]), policy=tools.policy)
        group = Group(tools, first, [ids[place][shared:] for place in places])
        logits = yield from group.last_logits()
        odds = logits[:, reranker.yes]
        if reranker.no is not None:
            odds = odds - logits[:, reranker.no]
        values = cast(list[float], odds.tolist())
        if any(map(math.isnan, values)):
            raise NoNumbers
        yield list(zip(places, map(_probability, values), strict=True))


def _probability(odds: float) -> float:
    """Return the logistic function; in float32 it would be 1 for all that are very relevant."""
    if odds < 0:
        grown = math.exp(odds)
        return grown / (1 + grown)
    return 1 / (1 + math.exp(-odds))
