"""Brings prompts into caches: what is reused, what is computed, and in slices of which size.

`Sharing` gives a row what other rows have computed, and keeps what it computes for later ones;
`Slice` and `compute_rest` compute the tokens that are left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import mlx.core as mx

from ..cache import kv
from ..cache.memory_guard import MemoryGuard
from ..cache.policy import CachePolicy
from ..cache.prefix_tree import common_prefix
from ..cache.prompt_cache import PromptCache, begin_alike
from ..cache.trimming import trim
from .decode_batch import DecodeBatch
from .rows import Row

SHARE_TOKENS = 32
"""The shortest common prefix, in tokens, for which a row waits until another has computed it."""


class ChunkSize:
    """The number of prompt tokens for one slice of prefill that takes about ``seconds``.

    ``tokens`` is a power of two, at most mlx-lm's own 2048. That time is the longest that a cancel
    waits and that the decoding rows stand still.
    """

    SMALLEST, LARGEST = 16, 2048
    SPLIT, PIECES = 128, 8
    """Slices up to ``SPLIT`` tokens may be longer on a CPU and are computed in ``PIECES``.

    Each slice reads all weights. SmolLM2 computed 139 tokens a second in slices of 16 tokens, and
    231 in slices of 64.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        # Small until something is measured: 512 tokens took 0.7 s on two busy processor cores.
        self.tokens = 64

    @property
    def seconds(self) -> float:
        """Return how long one piece of a slice may take."""
        return self._seconds

    @property
    def slice_tokens(self) -> int:
        """Return the number of tokens for a slice that can be computed in pieces."""
        if mx.default_device() != mx.cpu:
            return self.tokens
        return max(self.tokens, min(self.tokens * self.PIECES, self.SPLIT))

    def learn(self, tokens: int, seconds: float) -> None:
        """Adjust ``tokens`` to a measured slice; ignore a short one, which says little."""
        if tokens < self.SMALLEST or seconds <= 0:
            return
        fitting = tokens * self._seconds / seconds
        # Attention makes later slices of a prompt slower, so shrink at once and grow by doubling.
        if fitting < self.tokens:
            self.tokens = max(self.SMALLEST, 1 << max(int(fitting).bit_length() - 1, 0))
        elif fitting >= 2 * self.tokens and tokens * 2 >= self.tokens:
            self.tokens = min(self.LARGEST, 2 * self.tokens)


class Slice:
    """Tokens of one row's prompt on their way into the row's caches, layer by layer.

    ``before`` are the row's caches without the slice, for a row that is removed meanwhile; None if
    nobody would use them.
    """

    def __init__(self, model: Any, row: Row, size: int) -> None:
        assert row.layers is not None
        self.size = size
        self.seconds = 0.0
        self.before = kv.snapshot(row.layers) if row.held and may_share(row) else None
        states = _begin(model, row, size)
        # A GPU computes a slice as one piece: waiting for each layer would cost more than it gains.
        self._left = deque(states if mx.default_device() == mx.cpu else [states])

    def advance(self, seconds: float) -> bool:
        """Compute layers until ``seconds`` have passed, at least one; return True if none is left."""
        started, passed = time.perf_counter(), 0.0
        while self._left and (not passed or passed < seconds):
            mx.eval(self._left.popleft())
            passed = time.perf_counter() - started
        self.seconds += passed
        return not self._left


def _begin(model: Any, row: Row, size: int) -> list[Any]:
    """Send the next ``size`` tokens of a row through the model, lazily; return what to evaluate."""
    assert row.layers is not None
    ids = mx.array(row.tokens[row.held : row.held + size])
    model(ids[None], cache=row.layers)
    return kv.states(row.layers)


def compute_rest(model: Any, rows: list[Row]) -> kv.Layers:
    """Compute all but the last token of each row's prompt, and return the caches.

    The caches are plain for one row, and one batch for several. Each row must have caches; the
    rows' ``held`` is left to the caller.
    """
    if len(rows) == 1:
        (row,) = rows
        assert row.layers is not None
        if row.left:
            mx.eval(_begin(model, row, row.left))
        return row.layers
    layers = kv.merge([row.layers for row in rows if row.layers is not None])
    lengths = [row.left for row in rows]
    longest = max(lengths)
    if not longest:
        return layers
    rests = [row.tokens[row.held : row.held + row.left] for row in rows]
    with kv.right_padding(layers, lengths, longest):
        model(kv.padded(rests, longest), cache=layers)
    mx.eval(kv.states(layers))
    return layers


def fit_together(policy: CachePolicy, first: Row, other: Row) -> bool:
    """Return True if one pass can compute two rows: padded, or of equal length throughout."""
    return policy.pads or (first.left, first.held) == (other.left, other.held)


class Sharing:
    """Finds what a row can reuse, and keeps what a row has computed.

    A row takes part only if its request allows the prompt cache (`may_share`). Not thread-safe:
    all calls come from the engine's thread.
    """

    def __init__(
        self, policy: CachePolicy, cache: PromptCache, guard: MemoryGuard | None
    ) -> None:
        self._policy = policy
        self._cache = cache
        self._guard = guard

    def fetch(self, row: Row, decoding: DecodeBatch) -> None:
        """Give a row its first caches: from the prompt cache, a decoding row, or empty ones."""
        prompt = row.prompt
        if not may_share(row):
            row.layers = self._policy.make()
            prompt.cache_miss = "disabled"
            return
        if self._policy.trimmable:
            self._share_decoding(row, decoding)
        reuse = self._cache.fetch(row.tokens)
        row.layers = reuse.layers if reuse.layers is not None else self._policy.make()
        row.held = reuse.held
        if not row.generated:
            prompt.cached_tokens, prompt.cache_miss = reuse.held, reuse.miss

    def keep(self, tokens: list[int], layers: kv.Layers) -> None:
        """Store caches in the prompt cache, evaluated: lazy ones pin the whole batch's buffers."""
        if self._cache.store(tokens, layers):
            mx.async_eval(kv.states(layers))
        if self._guard is not None and self._guard.limit:
            self._guard.trim(self._cache)

    def waits(self, row: Row, waiting: Iterable[Row]) -> bool:
        """Return True if an earlier waiting row will compute a prefix that this row can reuse."""
        if row.layers is not None or not may_share(row) or not self._policy.trimmable:
            return False
        held: int | None = None
        for other in waiting:
            if other is row:
                return False
            if other.alone or not may_share(other):
                continue
            if begin_alike(row.tokens, other.tokens, SHARE_TOKENS):
                held = self._cache.held_by(row.tokens) if held is None else held
                if begin_alike(row.tokens, other.tokens, held + 1):
                    return True
        return False

    def save_boundary(self, rows: list[Row], layers: kv.Layers, waiting: Iterable[Row]) -> None:
        """Keep the caches at the ends of prompts, if they can't be had from the batch later.

        That is so if the model's caches can't be trimmed, or if another row waits for them.
        """
        for place, row in enumerate(rows):
            if not may_share(row) or row.held < 1:
                continue
            if self._policy.trimmable and not _is_awaited(row, waiting):
                continue
            own = layers if len(rows) == 1 else kv.extract_row(layers, place, row.held)
            self.keep(row.tokens[: row.held], kv.snapshot(own))

    def _share_decoding(self, row: Row, decoding: DecodeBatch) -> None:
        """Store a decoding row's prompt if it shares more of this row than the cache does."""
        best, most = None, max(self._cache.held_by(row.tokens), SHARE_TOKENS - 1)
        for other in decoding.rows:
            if may_share(other) and begin_alike(row.tokens, other.prompt.ids, most + 1):
                best = other
                most = common_prefix(row.tokens[:-1], other.prompt.ids[:-1])
        if best is not None:
            tokens, layers = decoding.take_out(best)
            layers = kv.snapshot(layers)
            if trim(layers, len(tokens), len(best.prompt.ids)):
                self.keep(tokens[: len(best.prompt.ids)], layers)


def may_share(row: Row) -> bool:
    """Return True if a row's request allows the use of the prompt cache."""
    return row.prompt.params.cache


def _is_awaited(row: Row, waiting: Iterable[Row]) -> bool:
    return any(
        other.layers is None
        and may_share(other)
        and begin_alike(row.tokens, other.tokens, SHARE_TOKENS)
        for other in waiting
        if other is not row
    )
