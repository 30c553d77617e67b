"""Shares computed prompt tokens between the prompt cache, the rows and their successors."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx

from ..cache import kv
from ..cache.memory_guard import MemoryGuard
from ..cache.prefix_tree import common_prefix
from ..cache.prompt_cache import PromptCache, begin_alike
from .decode_batch import DecodeBatch
from .rows import Row

SHARE_TOKENS = 32
"""The shortest common prefix, in tokens, for which a row waits until another has computed it."""


class Sharing:
    """Finds what a row can reuse, and keeps what a row has computed.

    A row takes part only if its request allows the prompt cache (`may_share`). Not thread-safe:
    all calls come from the engine's thread.
    """

    def __init__(
        self, policy: kv.CachePolicy, cache: PromptCache, guard: MemoryGuard | None
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
            if kv.trim(layers, len(tokens), len(best.prompt.ids)):
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
