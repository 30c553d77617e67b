"""`classify`: one forward pass for each prompt, many prompts in one, and labels after them.

Works for every model (engine-notes §6): the tokens before the last fill a cache, lazily and
without the model's head. The last token goes through the whole model, so the head is computed
for one position of each prompt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...prompts import Classified, ClassifyPrompts, Prompt
from ..cache import kv
from ..cache.policy import CachePolicy
from ..cache.prefix_tree import common_prefix
from ..models.soundness import NoNumbers
from ..sequences.prefill import ChunkSize
from ..sequences.rows import Row
from ..sequences.sampling import BatchSampler

GROUP_PROMPTS = 32
GROUP_TOKENS = 2048
CPU_PADDING_TOKENS = 12
"""A processor computes padding at the price of tokens; another pass costs it about as many. A
GPU is the other way round."""
GPU_WIDTHS = 8
"""Groups are padded to multiples of this: each width is a shape that a GPU compiles kernels for."""
LOGITS_PROMPTS = 4
"""Whole rows of logits as Python numbers take longer than the pass that computes them."""

NARROWEST = 2
"""One token is a decode step to mlx-lm's BatchRotatingKVCache, which it refuses among padding."""

Slices = Iterator[None]
"""Work in slices of about a chunk's time: between two of them others step and cancels are seen."""


class Tools(NamedTuple):
    """The parts of a loaded model that scoring uses."""

    model: Any
    policy: CachePolicy
    text_of: Callable[[int], str]
    chunk: ChunkSize


def classify_slice(tools: Tools, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
    """Compute one slice; return (index, result) pairs if it completes a group, else none.

    Log-probabilities are natural and float32. A label's score is the sum over its tokens given
    the prompt; ``labels`` are those, normalised to sum to 1.
    """
    if prompts.work is None:
        prompts.work = _score_all(tools, Asked.of(prompts), prompts.left)
    with mx.stream(generation_stream):
        results = next(prompts.work)
    if results and not prompts.left:
        prompts.work = None
    return results or []


class Asked(NamedTuple):
    """The prompts and labels, without their `ClassifyPrompts`.

    The unfinished work must not refer to its owner: such a cycle would keep its caches until
    Python's collector runs.
    """

    ids: list[list[int]]
    labels: dict[str, list[int]]
    logits: bool
    drawn: Prompt | None

    @classmethod
    def of(cls, prompts: ClassifyPrompts) -> Asked:
        """Copy the parts of a `ClassifyPrompts` that scoring reads."""
        return cls(prompts.prompts, prompts.labels, prompts.logits, prompts.drawn)


def _score_all(
    tools: Tools, asked: Asked, left: list[int]
) -> Iterator[list[tuple[int, Classified]] | None]:
    """Yield each group's results, or None after a slice without results. Shortens ``left``."""
    shared = _shared_beginning(asked.ids)
    first = tools.policy.make()
    if shared:
        yield from _fill(tools, first, mx.array([asked.ids[0][:shared]]))
    while left:
        places = _next_group(asked, left, tools.policy)
        group = _Group(tools, asked, places, first, shared)
        yield from group.slices()
        yield group.results


class _Group:
    """Prompts of similar length that are computed together, after their shared beginning."""

    def __init__(
        self, tools: Tools, asked: Asked, places: list[int], first: kv.Layers, shared: int
    ) -> None:
        self._tools = tools
        self._asked = asked
        self._places = places
        self._ids = [asked.ids[place][shared:] for place in places]
        own = [kv.snapshot(first) for _ in self._ids]
        self._layers = own[0] if len(own) == 1 else kv.merge(own)
        self.results: list[tuple[int, Classified]] = []

    def slices(self) -> Slices:
        """Compute the group, slice by slice; ``results`` are complete at the end."""
        yield from self._prefill()
        last = mx.array([prompt[-1:] for prompt in self._ids])
        rows = self._tools.model(last, cache=self._layers)[:, -1, :].astype(mx.float32)
        logprobs = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        best = _choose(rows, self._asked.drawn)
        chosen = mx.take_along_axis(logprobs, best[:, None], axis=-1)[:, 0]
        mx.eval(rows, logprobs, best, chosen, kv.states(self._layers))
        scores: dict[str, list[float]] = {}
        for label, label_ids in self._asked.labels.items():
            yield
            score = logprobs[:, label_ids[0]]
            if len(label_ids) > 1:
                tail = mx.zeros_like(score)
                for part in self._continuation(label_ids):
                    tail = tail + part
                    mx.eval(tail)
                    yield
                score = score + tail
            scores[label] = cast(list[float], score.tolist())
        self.results = self._described(rows, best, chosen, scores)

    def _prefill(self) -> Slices:
        """Fill the caches with all tokens but the last."""
        lengths = [len(prompt) - 1 for prompt in self._ids]
        longest = max(lengths)
        if not longest:
            return
        pads = len(lengths) > 1 and self._tools.policy.pads
        if pads and mx.default_device() != mx.cpu:
            longest = -(-longest // GPU_WIDTHS) * GPU_WIDTHS
        elif min(lengths) < longest:
            longest = max(longest, NARROWEST)
        padded = kv.padded([prompt[:-1] for prompt in self._ids], longest)
        if min(lengths) == longest:
            yield from _fill(self._tools, self._layers, padded)
            return
        start = self._unpadded(min(lengths), longest)
        yield from _fill(self._tools, self._layers, padded[:, :start])
        left = [length - start for length in lengths]
        with kv.right_padding(self._layers, left, longest - start):
            yield from _fill_at_once(self._tools, self._layers, padded[:, start:])

    def _unpadded(self, shortest: int, longest: int) -> int:
        """Return how many tokens come in slices without padding, before a last one with all of it.

        mlx-lm's recurrent layers (`ssm.py`) go wrong in a second slice of padding alone.
        """
        width = _width(self._tools, len(self._ids))
        return 0 if longest <= width else max(shortest - 1, 0) // width * width

    def _continuation(self, label: list[int]) -> Iterator[mx.array]:
        """Yield a label's log-probabilities [B] after each prompt, summed over token slices."""
        layers = kv.snapshot(self._layers)  # copy on write: the prompts' caches do not change
        kv.unroll(layers)
        rows = len(self._ids)
        width = _width(self._tools, rows)
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


def _fill(tools: Tools, layers: kv.Layers, ids: mx.array) -> Slices:
    """Compute ``ids`` [B, T] into the caches, in slices."""
    rows, length = ids.shape
    start = 0
    while start < length:
        width = _width(tools, rows)
        if length - start - width < NARROWEST:
            width = length - start
        yield from _fill_at_once(tools, layers, ids[:, start : start + width])
        start += width


def _fill_at_once(tools: Tools, layers: kv.Layers, ids: mx.array) -> Slices:
    """Compute ``ids`` [B, T] into the caches, in one slice."""
    began = time.perf_counter()
    tools.model(ids, cache=layers)
    mx.eval(kv.states(layers))
    tools.chunk.learn(ids.size, time.perf_counter() - began)
    yield


def _width(tools: Tools, rows: int) -> int:
    return max(NARROWEST, tools.chunk.tokens // rows)


def _next_group(asked: Asked, left: list[int], policy: CachePolicy) -> list[int]:
    """Take the longest prompts that are left, as many as fit one pass without much padding.

    They all have one length if the model takes no padding.
    """
    places = [left.pop()]
    longest = len(asked.ids[places[0]])
    most = LOGITS_PROMPTS if asked.logits else GROUP_PROMPTS
    size = max(1, min(most, GROUP_TOKENS // longest)) if policy.batchable else 1
    padding = CPU_PADDING_TOKENS if mx.default_device() == mx.cpu else GROUP_TOKENS
    if not policy.pads:
        padding = 0
    while left and len(places) < size:
        padding -= longest - len(asked.ids[left[-1]])
        if padding < 0:
            break
        places.append(left.pop())
    return places


def _shared_beginning(ids: list[list[int]]) -> int:
    """Return how many first tokens all prompts share; they are computed only once."""
    if len(ids) == 1:
        return 0
    shared = min(common_prefix(ids[0], other) for other in ids[1:])
    return min(shared, min(map(len, ids)) - 1)


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Convert log-probabilities to probabilities with sum 1 (softmax)."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
