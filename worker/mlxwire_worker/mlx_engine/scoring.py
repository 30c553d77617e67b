"""`classify`: one forward pass for each prompt, many prompts in one, and labels after them.

The portable form of ENGINE.md §6: all tokens but the last fill a cache, whose head is never
computed; the last goes through the whole model, so the head runs on one place of each prompt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ..engine import Classified, ClassifyPrompts
from . import kv
from .chunks import ChunkSize
from .prefix_tree import common_prefix
from .tokenizer import Tokenizer

GROUP_PROMPTS = 32
GROUP_TOKENS = 2048
LOGITS_PROMPTS = 4
"""Whole rows of logits as Python numbers take longer than the pass that computes them."""

NARROWEST = 2
"""One token is a decode step to mlx-lm's BatchRotatingKVCache, which it refuses among padding."""

Slices = Iterator[None]
"""Work in slices of about a chunk's time: between two of them others step and cancels are seen."""


class Tools(NamedTuple):
    """What scoring needs of a loaded model."""

    model: Any
    policy: kv.CachePolicy
    tokenizer: Tokenizer
    chunk: ChunkSize


def classify_slice(tools: Tools, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
    """Work one slice on; the places and results of a group that is complete with it.

    Log-probabilities are natural and float32. A label's score is the sum over its tokens given
    the prompt; ``labels`` are those, normalised to sum to 1.
    """
    if prompts.group is None:
        prompts.group = _Group(tools, prompts)
    group: _Group = prompts.group
    with mx.stream(generation_stream):
        unfinished = next(group.slices, group) is None
    if unfinished:
        return []
    prompts.group = None
    return group.results


class _Group:
    """Prompts of like length that go through the model together."""

    def __init__(self, tools: Tools, prompts: ClassifyPrompts) -> None:
        self._tools = tools
        self._request = prompts.request
        self._labels = prompts.labels
        self.places = _next_group(prompts, batchable=tools.policy.batchable)
        self._ids = [prompts.prompts[place] for place in self.places]
        self._layers: kv.Layers = []
        self.results: list[tuple[int, Classified]] = []
        self.slices = self._run()

    def _run(self) -> Slices:
        yield from self._prefill()
        last = mx.array([prompt[-1:] for prompt in self._ids])
        rows = self._tools.model(last, cache=self._layers)[:, -1, :].astype(mx.float32)
        logprobs = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        best = mx.argmax(rows, axis=-1)
        chosen = mx.take_along_axis(logprobs, best[:, None], axis=-1)[:, 0]
        mx.eval(rows, logprobs, best, chosen, kv.states(self._layers))
        scores: dict[str, list[float]] = {}
        for label, label_ids in self._labels.items():
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
        """Fill the caches with all tokens but the last: plain for one prompt, batched for more."""
        ids = [prompt[:-1] for prompt in self._ids]
        shared = _shared_beginning(ids)
        first = self._tools.policy.make()
        if shared:
            yield from self._fill(first, mx.array([ids[0][:shared]]))
        self._layers = first
        if len(ids) > 1:
            self._layers = kv.merge([first, *(kv.snapshot(first) for _ in ids[1:])])
        ids = [prompt[shared:] for prompt in ids]
        lengths = [len(prompt) for prompt in ids]
        longest = max(lengths)
        if not longest:
            return
        if min(lengths) < longest:
            longest = max(longest, NARROWEST)
        padding = [longest - length for length in lengths]
        padded = mx.array(
            [prompt + [0] * pad for prompt, pad in zip(ids, padding, strict=True)],
            dtype=mx.int32,
        )
        for layer in self._layers if any(padding) else []:
            layer.prepare(lengths=lengths, right_padding=padding)
        yield from self._fill(self._layers, padded)
        for layer in self._layers if any(padding) else []:
            layer.finalize()

    def _fill(self, layers: kv.Layers, ids: mx.array) -> Slices:
        """``ids`` [B, T] into the caches."""
        rows, length = ids.shape
        start = 0
        while start < length:
            began = time.perf_counter()
            width = self._width(rows)
            if length - start - width < NARROWEST:
                width = length - start
            self._tools.model(ids[:, start : start + width], cache=layers)
            mx.eval(kv.states(layers))
            self._tools.chunk.learn(rows * width, time.perf_counter() - began)
            start += width
            yield

    def _continuation(self, label: list[int]) -> Iterator[mx.array]:
        """Log-probabilities of a label's tokens after its first, given each cached prompt: sums
        [B] over slices of them."""
        layers = kv.snapshot(self._layers)  # copy on write: the prompts' own stay as they are
        rows, width = len(self._ids), self._width(len(self._ids))
        for start in range(0, len(label) - 1, width):
            targets = label[start + 1 : start + 1 + width]
            shape = (rows, len(targets))
            fed = mx.broadcast_to(mx.array(label[start : start + len(targets)])[None], shape)
            logits = self._tools.model(fed, cache=layers).astype(mx.float32)
            logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
            index = mx.broadcast_to(mx.array(targets)[None, :, None], (*shape, 1))
            yield mx.take_along_axis(logprobs, index, axis=-1).sum(axis=(1, 2))

    def _width(self, rows: int) -> int:
        return max(NARROWEST, self._tools.chunk.tokens // rows)

    def _described(
        self, rows: mx.array, best: mx.array, chosen: mx.array, scores: dict[str, list[float]]
    ) -> list[tuple[int, Classified]]:
        ids, logprobs = cast(list[int], best.tolist()), cast(list[float], chosen.tolist())
        wanted: list[Any] = [None] * len(ids)
        if self._request.logits:
            wanted = cast(list[Any], rows.tolist())
        return [
            (
                place,
                Classified(
                    text=self._tools.tokenizer.decode([ids[row]]),
                    token_id=ids[row],
                    logprob=logprobs[row],
                    logits=wanted[row],
                    labels=_normalised({k: v[row] for k, v in scores.items()})
                    if scores
                    else None,
                ),
            )
            for row, place in enumerate(self.places)
        ]


def _next_group(prompts: ClassifyPrompts, *, batchable: bool) -> list[int]:
    """The longest that are left, as many as fit one pass."""
    longest = len(prompts.prompts[prompts.left[-1]])
    most = LOGITS_PROMPTS if prompts.request.logits else GROUP_PROMPTS
    size = max(1, min(most, GROUP_TOKENS // longest)) if batchable else 1
    group = prompts.left[-size:]
    del prompts.left[-size:]
    return group


def _shared_beginning(ids: list[list[int]]) -> int:
    """Tokens that all prompts begin with, an instruction usually: computed once for all."""
    if len(ids) == 1:
        return 0
    return min(common_prefix(ids[0], other) for other in ids[1:])


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Softmax over log-probabilities."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
