"""Texts of similar length that are computed together: which they are, and in which slices.

Works for every model (engine-notes §6). Texts may differ in length where the model takes padding;
what all texts of a request begin with is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from ..cache import kv
from ..cache.policy import CachePolicy
from ..cache.prefix_tree import common_prefix
from ..sequences.prefill import ChunkSize

GROUP_TEXTS = 32
GROUP_TOKENS = 2048
CPU_PADDING_TOKENS = 12
"""A processor computes padding at the price of tokens; another pass costs it about as many. A
GPU is the other way round."""
GPU_WIDTHS = 8
"""Groups are padded to multiples of this: each width is a shape that a GPU compiles kernels for."""

NARROWEST = 2
"""One token is a decode step to mlx-lm's BatchRotatingKVCache, which it refuses among padding."""

Slices = Iterator[None]
"""Work in slices of about a chunk's time: between two of them others step and cancels are seen."""


class Tools(NamedTuple):
    """The parts of a loaded model that a pass uses; ``model`` computes with one adapter."""

    model: Callable[..., Any]
    policy: CachePolicy
    text_of: Callable[[int], str]
    chunk: ChunkSize


class Group:
    """Texts [B] that are computed together, after their shared beginning ``first``.

    ``rows`` are the ids of each text behind that beginning.
    """

    def __init__(self, tools: Tools, first: kv.Layers, rows: list[list[int]]) -> None:
        self._tools = tools
        self.rows = rows
        own = [kv.snapshot(first) for _ in rows]
        self.layers = own[0] if len(own) == 1 else kv.merge(own)
        kv.grow_by(self.layers, max(map(len, rows)))

    def last_logits(self) -> Generator[None, None, mx.array]:
        """Compute the texts, slice by slice; return the logits [B, V] at their ends, in float32.

        The head is computed for these alone.
        """
        for ids in self.blocks([row[:-1] for row in self.rows]):
            yield from fill_at_once(self._tools, self.layers, ids)
        last = mx.array([row[-1:] for row in self.rows])
        logits: mx.array = self._tools.model(last, cache=self.layers)[:, -1, :]
        return logits.astype(mx.float32)

    def blocks(self, rows: list[list[int]], most: int = GROUP_TOKENS) -> Iterator[mx.array]:
        """Yield ``rows`` as ids [B, T], block by block, with all padding on the last one's right.

        The caller computes each block into ``layers`` before it takes the next. A block without
        padding has at most ``most`` tokens.
        """
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        if not longest:
            return
        pads = len(lengths) > 1 and self._tools.policy.pads
        if pads and mx.default_device() != mx.cpu:
            longest = -(-longest // GPU_WIDTHS) * GPU_WIDTHS
        elif min(lengths) < longest:
            longest = max(longest, NARROWEST)
        padded = kv.padded(rows, longest)
        if min(lengths) == longest:
            yield from cut(self._tools, padded, most)
            return
        start = self._unpadded(min(lengths), longest, most)
        yield from cut(self._tools, padded[:, :start], most)
        left = [length - start for length in lengths]
        with kv.right_padding(self.layers, left, longest - start):
            yield padded[:, start:]

    def _unpadded(self, shortest: int, longest: int, most: int) -> int:
        """Return how many tokens come in slices without padding, before a last one with all of it.

        mlx-lm's recurrent layers (`ssm.py`) go wrong in a second slice of padding alone.
        """
        width = width_of(self._tools, len(self.rows), most)
        return 0 if longest <= width else max(shortest - 1, 0) // width * width


def cut(tools: Tools, ids: mx.array, most: int = GROUP_TOKENS) -> Iterator[mx.array]:
    """Yield ids [B, T] in blocks of at most ``most`` tokens, each of about a chunk's time.

    The width is taken anew for each: the blocks before it tell how long one takes.
    """
    rows, length = ids.shape
    start = 0
    while start < length:
        width = width_of(tools, rows, most)
        if length - start - width < NARROWEST:
            width = length - start
        yield ids[:, start : start + width]
        start += width


def fill(tools: Tools, layers: kv.Layers, ids: mx.array) -> Slices:
    """Compute ``ids`` [B, T] into the caches, in slices."""
    for block in cut(tools, ids):
        yield from fill_at_once(tools, layers, block)


def fill_at_once(tools: Tools, layers: kv.Layers, ids: mx.array) -> Slices:
    """Compute ``ids`` [B, T] into the caches, in one slice."""
    began = time.perf_counter()
    tools.model(ids, cache=layers)
    mx.eval(kv.states(layers))
    tools.chunk.learn(ids.size, time.perf_counter() - began)
    yield


def width_of(tools: Tools, rows: int, most: int = GROUP_TOKENS) -> int:
    """Return the number of tokens of each row for one slice."""
    return max(NARROWEST, min(tools.chunk.tokens, most) // rows)


def next_group(
    left: list[int],
    length: Callable[[int], int],
    *,
    policy: CachePolicy | None = None,
    fits: Callable[[int, int], bool] = lambda first, other: True,
    texts: int = GROUP_TEXTS,
    tokens: int = GROUP_TOKENS,
) -> list[int]:
    """Take texts from the end of ``left``, as many as fit one pass without much padding.

    The last is the longest. All have one length if the ``policy`` of the model's caches takes no
    padding; without caches any lengths fit. A group has at most
    ``texts`` texts and about ``tokens`` tokens, and only texts that fit its first one.
    """
    places = [left.pop()]
    longest = length(places[0])
    size = max(1, min(texts, tokens // longest)) if policy is None or policy.batchable else 1
    padding = CPU_PADDING_TOKENS if mx.default_device() == mx.cpu else GROUP_TOKENS
    if policy is not None and not policy.pads:
        padding = 0
    while left and len(places) < size and fits(places[0], left[-1]):
        padding -= longest - length(left[-1])
        if padding < 0:
            break
        places.append(left.pop())
    return places


def shared_beginning(texts: Sequence[list[int]]) -> int:
    """Return how many first tokens all texts share; at least the last of each is not counted."""
    if len(texts) == 1:
        return 0
    shared = min(common_prefix(texts[0], other) for other in texts[1:])
    return min(shared, min(map(len, texts)) - 1)
