"""`classify`: one forward pass for each prompt, many prompts in one, and labels after them.

The tokens before the last fill a cache, lazily and without the model's head (`groups`). The last token
goes through the whole model, so the head is computed for one position of each prompt.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import mlx.core as mx

from ...passes import Classified, ClassifyPrompts, Endings
from ...prompts import Prompt
from ..cache import kv
from ..models.soundness import NoNumbers
from ..sequences.rows import Row
from ..sequences.sampling import BatchSampler
from .groups import (
    GROUP_TEXTS,
    Group,
    Slices,
    Tools,
    fill,
    next_group,
    shared_beginning,
    width_of,
)
from .stepping import Work, next_results

LOGITS_PROMPTS = 4
"""Whole rows of logits as Python numbers take longer than the pass that computes them."""


def classify_slice(tools: Tools, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
    """Compute one slice; return (index, result) pairs if it completes a group, else none.

    Log-probabilities are natural and float32. A label's score is the sum over its tokens given the
    ids that all labels follow; ``labels`` are those, normalised to sum to 1.
    """
    return next_results(prompts, lambda: _score_all(tools, Asked.of(prompts), prompts.left))


class Asked(NamedTuple):
    """The prompts and labels, without their `ClassifyPrompts`.

    The unfinished work must not refer to its owner: such a cycle would keep its caches until
    Python's collector runs.
    """

    ids: list[list[int]]
    labels: Sequence[str]
    endings: Sequence[Endings]
    logits: bool
    drawn: Prompt | None

    @classmethod
    def of(cls, prompts: ClassifyPrompts) -> Asked:
        """Copy the parts of a `ClassifyPrompts` that scoring reads."""
        return cls(prompts.ids, prompts.labels, prompts.endings, prompts.logits, prompts.drawn)

    def beginning(self, place: int) -> list[int]:
        """Return the ids of a prompt that its labels follow."""
        ids = self.ids[place]
        return ids[: len(ids) - self.endings[place].replaced]


def _score_all(tools: Tools, asked: Asked, left: list[int]) -> Work[Classified]:
    """Compute the prompts, group by group. Shortens ``left``."""
    beginnings = {place: asked.beginning(place) for place in left}
    shared = shared_beginning(list(beginnings.values()))
    first = tools.policy.make()
    if shared:
        yield from fill(tools, first, mx.array([beginnings[left[0]][:shared]]))
    while left:
        places = next_group(
            left,
            lambda place: len(beginnings[place]),
            policy=tools.policy,
            fits=lambda place, other: asked.endings[place] == asked.endings[other],
            texts=LOGITS_PROMPTS if asked.logits else GROUP_TEXTS,
        )
        rows = [beginnings[place][shared:] for place in places]
        group = _Classification(tools, asked, places, Group(tools, first, rows))
        yield from group.slices()
        yield group.results


class _Classification:
    """A group of prompts with equal endings."""

    def __init__(self, tools: Tools, asked: Asked, places: list[int], group: Group) -> None:
        self._tools = tools
        self._asked = asked
        self._places = places
        self._group = group
        self._endings = asked.endings[places[0]]
        self.results: list[tuple[int, Classified]] = []

    def slices(self) -> Slices:
        """Compute the group, slice by slice; ``results`` are complete at the end."""
        layers = self._group.layers
        behind = yield from self._group.last_logits()
        logprobs = behind - mx.logsumexp(behind, axis=-1, keepdims=True)
        mx.eval(behind, logprobs, kv.states(layers))
        rows, following = behind, logprobs
        if self._endings.replaced:
            yield
            rows = yield from self._last_rows()
            following = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        best = _choose(rows, self._asked.drawn)
        chosen = mx.take_along_axis(following, best[:, None], axis=-1)[:, 0]
        mx.eval(best, chosen)
        scores: dict[str, list[float]] = {}
        for label, ids in zip(self._asked.labels, self._endings.labels, strict=True):
            yield
            score = logprobs[:, ids[0]]
            if len(ids) > 1:
                tail = mx.zeros_like(score)
                for part in self._continuation(list(ids)):
                    tail = tail + part
                    mx.eval(tail)
                    yield
                score = score + tail
            scores[label] = cast(list[float], score.tolist())
        self.results = self._described(rows, best, chosen, scores)

    def _last_rows(self) -> Generator[None, None, mx.array]:
        """Compute the last ids of the prompts, behind those that the labels follow."""
        count = self._endings.replaced
        layers = self._followed()
        last = [self._asked.ids[place][-count:] for place in self._places]
        logits = mx.array(0.0)
        for start in range(0, count, width := width_of(self._tools, len(last))):
            ids = mx.array([row[start : start + width] for row in last])
            logits = self._tools.model(ids, cache=layers)[:, -1, :].astype(mx.float32)
            mx.eval(logits, kv.states(layers))
            yield
        return logits

    def _followed(self) -> kv.Layers:
        """Return a copy of the caches, into which several tokens can be computed at once."""
        layers = kv.snapshot(self._group.layers)  # copy on write: the prompts' do not change
        kv.unroll(layers)
        return layers

    def _continuation(self, label: list[int]) -> Iterator[mx.array]:
        """Yield a label's log-probabilities [B] after each prompt, summed over token slices."""
        layers = self._followed()
        rows = len(self._places)
        width = width_of(self._tools, rows)
        for start in range(0, len(label) - 1, width):
            targets = label[start + 1 : start + 1 + width]
            shape = (rows, len(targets))
            fed = mx.broadcast_to(mx.array(label[start : start + len(targets)])[None], shape)
            logits = self._tools.model(fed, cache=layers).astype(mx.float32)
            logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
            # Of the dtype that argmax gives: a GPU compiles a kernel for each, for 5 s.
            wanted = mx.array(targets, dtype=mx.uint32)
            index = mx.broadcast_to(wanted[None, :, None], (*shape, 1))
            yield mx.take_along_axis(logprobs, index, axis=-1).sum(axis=(1, 2))

    def _described(
        self, rows: mx.array, best: mx.array, chosen: mx.array, scores: dict[str, list[float]]
    ) -> list[tuple[int, Classified]]:
        ids, logprobs = cast(list[int], best.tolist()), cast(list[float], chosen.tolist())
        if any(math.isnan(value) for value in chain(logprobs, *scores.values())):
            raise NoNumbers
        wanted: list[Any] = [None] * len(ids)
        if self._asked.logits:
            wanted = cast(list[Any], rows.tolist())
        return [
            (
                place,
                Classified(
                    text=self._tools.text_of(ids[row]),
                    token_id=ids[row],
                    logprob=logprobs[row],
                    logits=wanted[row],
                    labels=_normalised({k: v[row] for k, v in scores.items()})
                    if scores
                    else None,
                ),
            )
            for row, place in enumerate(self._places)
        ]


def _choose(rows: mx.array, drawn: Prompt | None) -> mx.array:
    """Return a token id for each row of logits [B, V]: the likeliest, or one that is drawn.

    Each row has its own random keys, so a draw does not depend on the rows beside it.
    """
    if drawn is None:
        return mx.argmax(rows, axis=-1)
    return BatchSampler([Row.of(drawn) for _ in range(rows.shape[0])]).choose(rows).tokens


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Convert log-probabilities to probabilities with sum 1 (softmax)."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
