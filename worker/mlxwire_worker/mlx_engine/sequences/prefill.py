"""Brings prompts into caches: what is reused, what is computed, and in slices of which size.

`Sharing` gives a row what other rows have computed, and keeps what it computes for later ones;
`Slice` and `compute_rest` compute the tokens that are left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import mlx.core as mx

from ...process.stdio import log
from ..adapters.row_model import RowModel
from ..cache import kv
from ..cache.memory_guard import MemoryGuard
from ..cache.policy import CachePolicy
from ..cache.prefix_tree import common_prefix
from ..cache.prompt_cache import PromptCache, begin_alike
from ..cache.trimming import trim
from .decode_batch import DecodeBatch
from .rows import Row, adapters_of

SHARE_TOKENS = 32
"""The shortest common prefix, in tokens, for which a row waits until another has computed it."""
MOST_STOPS = 32
"""Each stop costs a pass of its own, and the last ones and the first are the likeliest to be reused."""


class ChunkSize:
    """The number of prompt tokens for one slice of prefill that takes about ``seconds``.

    ``tokens`` is a power of two, at most mlx-lm's own 2048. That time is the longest that a cancel
    waits and that the decoding rows stand still.
    """

    SMALLEST, LARGEST = 16, 2048
    SPLIT, PIECES = 128, 8
    """On a CPU slices are longer than one piece, and have at most ``SPLIT`` tokens.

    Each slice reads all weights. SmolLM2 computed 139 tokens a second in slices of 16 tokens, and
    231 in slices of 64. Longer ones than ``SPLIT`` gain nothing more, and would take memory that
    depends on the speed of the machine, so that `fit` could not predict it.
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
        return min(self.tokens * self.PIECES, self.SPLIT)

    @property
    def whole_tokens(self) -> int:
        """Return the number of tokens for a pass that is computed at once.

        Such a pass takes more memory than a slice of as many tokens, layer by layer.
        """
        if mx.default_device() != mx.cpu:
            return self.tokens
        return min(self.tokens, self.SPLIT // 2)

    def slice_of(self, row: Row) -> int:
        """Return the number of tokens for the next slice of a row."""
        return min(self.slice_tokens, row.until_stop)

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

    def __init__(self, model: RowModel, row: Row, size: int) -> None:
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


def _begin(model: RowModel, row: Row, size: int) -> list[Any]:
    """Send the next ``size`` tokens of a row through the model, lazily; return what to evaluate."""
    assert row.layers is not None
    ids = mx.array(row.tokens[row.held : row.held + size])
    model(ids[None], adapters_of([row]), row.layers)
    return kv.states(row.layers)


def compute_rest(model: RowModel, rows: list[Row]) -> kv.Layers:
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
        model(kv.padded(rests, longest), adapters_of(rows), layers)
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
        reuse = self._cache.fetch(row.keys)
        row.layers = reuse.layers if reuse.layers is not None else self._policy.make()
        row.held = reuse.held
        row.stops = self._stops(row, reuse.common)
        if not row.generated:
            prompt.cached_tokens, prompt.cache_miss = reuse.held, reuse.miss

    def keep(
        self, keys: list[int], layers: kv.Layers, boundaries: Sequence[int] | None = None
    ) -> None:
        """Store caches in the prompt cache, evaluated: lazy ones pin the whole batch's buffers.

        ``boundaries`` are those of a chat's prompt that is computed as a whole, up to the end of ``keys``.
        """
        if self._cache.store(keys, layers, boundaries):
            mx.async_eval(kv.states(layers))
        if self._guard is not None and self._guard.limit:
            self._guard.trim(self._cache)

    def waits(self, row: Row, waiting: Iterable[Row]) -> bool:
        """Return True if an earlier waiting row will compute a prefix that this row can reuse."""
        if row.layers is not None or not may_share(row):
            return False
        held: int | None = None
        for other in waiting:
            if other is row:
                return False
            if other.alone or not may_share(other):
                continue
            if begin_alike(row.keys, other.keys, SHARE_TOKENS):
                held = self._cache.held_by(row.keys) if held is None else held
                if self._will_hold_more(other, row, held):
                    return True
        return False

    def _will_hold_more(self, other: Row, row: Row, held: int) -> bool:
        """Return True if prefill of ``other`` will store more of a row's prompt than ``held``."""
        if self._policy.trimmable:
            return begin_alike(row.keys, other.keys, held + 1)
        stops = other.stops if other.layers is not None else other.prompt.boundaries or ()
        return any(
            stop > held and begin_alike(row.keys, other.keys, stop)
            for stop in (len(other.tokens) - 1, *reversed(stops))
        )

    def _stops(self, row: Row, common: int) -> list[int]:
        """Return where prefill of a row must stop, because caches can't be cut to there later.

        These are the prompt's boundaries, and the end of the ``common`` tokens that a stored sequence
        shares: what parted there once may part there again.
        """
        last = len(row.tokens) - 1
        if self._policy.cuts_all_of(last) or not self._cache.tree.budget:
            return []
        boundaries = row.prompt.boundaries or ()
        stops = [stop for stop in boundaries if row.held < stop < last]
        before = max((stop for stop in stops if stop <= common), default=row.held)
        if before + SHARE_TOKENS <= common < last:
            stops = sorted([*stops, common])
        return stops if len(stops) <= MOST_STOPS else [stops[0], *stops[1 - MOST_STOPS :]]

    def keep_stop(self, row: Row) -> None:
        """Store what a row has computed, if it has come to a stop. Never raises: the row goes on."""
        if not row.stops or row.held < row.stops[0]:
            return
        assert row.layers is not None
        del row.stops[0]
        try:
            layers = kv.snapshot(row.layers)
            self.keep(row.keys[: row.held], layers, row.prompt.boundaries)
        except Exception as error:
            log(f"keeping the end of a message failed: {type(error).__name__}")
            row.stops = []

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
            self.keep(row.keys[: row.held], kv.snapshot(own), row.prompt.boundaries)

    def _share_decoding(self, row: Row, decoding: DecodeBatch) -> None:
        """Store a decoding row's prompt if it shares more of this row than the cache does."""
        best, most = None, max(self._cache.held_by(row.keys), SHARE_TOKENS - 1)
        for other in decoding.rows:
            prompt = other.keys[: len(other.prompt.ids)]
            if may_share(other) and begin_alike(row.keys, prompt, most + 1):
                best = other
                most = common_prefix(row.keys[:-1], prompt[:-1])
        if best is not None:
            keys, layers = decoding.take_out(best)
            layers = kv.snapshot(layers)
            if trim(layers, len(keys), len(best.prompt.ids)):
                self.keep(keys[: len(best.prompt.ids)], layers)


def may_share(row: Row) -> bool:
    """Return True if a row's request allows the use of the prompt cache."""
    return row.prompt.params.cache


def _is_awaited(row: Row, waiting: Iterable[Row]) -> bool:
    return any(
        other.layers is None
        and may_share(other)
        and begin_alike(row.keys, other.keys, SHARE_TOKENS)
        for other in waiting
        if other is not row
    )
