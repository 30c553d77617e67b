"""Estimates the memory that sequences will take and defers requests that would exceed a limit.

MLX's own limit is advisory: it was exceeded 25 times over without an error
(docs/engine-notes.md §15). A request that fits when it runs alone is deferred, never refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx

from .policy import CachePolicy
from .prompt_cache import PromptCache
from .sizes import CacheSizes

if TYPE_CHECKING:
    from ..fitting.footprint import Footprint

SPARE_PART = 100
"""A prediction leaves out tables and samplers, which take less than one part of a limit in so many."""


class MemoryGuard:
    """Measures the bytes that one token's cache takes, and keeps all sequences below a limit.

    ``limit`` is in bytes; None and 0 mean no limit. With a ``footprint`` intermediate results are
    counted too, as `fit` does.
    """

    def __init__(self, model: Any, policy: CachePolicy, limit: int | None) -> None:
        self.limit = limit or 0
        self.sizes = CacheSizes(model, policy)
        self.footprint: Footprint | None = None

    @property
    def bytes_per_token(self) -> int:
        """Return the bytes that one more token takes while no window is full."""
        return self.sizes.bytes_per_token

    def sequence_bytes(self, tokens: int) -> int:
        """Return the bytes that the cache of a sequence of ``tokens`` takes at most."""
        return self.sizes.sequence_bytes(tokens)

    def trim(self, cache: PromptCache) -> None:
        """Shrink the prompt cache if it and the running sequences exceed the limit, which is set."""
        excess = mx.get_active_memory() - self.limit
        if excess > 0:
            cache.shrink(max(cache.tree.nbytes - excess, 0))

    def has_room(self, lengths: list[int], now: int, cache: PromptCache) -> bool:
        """Return True if sequences of these final ``lengths`` in tokens fit into the limit.

        ``now`` is the number of bytes that the batch's caches hold at present. They count twice,
        because the batch is copied when a row joins, and a batch's cache is as long as its longest
        row; with a footprint the copies that exist at the peak are known. The prompt cache is
        shrunk first if that makes enough room, or if there is only one sequence.
        """
        if not self.limit:
            return True
        more = self._more_bytes(max(lengths), len(lengths), now)
        excess = self._excess(more)
        if excess > 0 and (excess <= cache.tree.nbytes or len(lengths) == 1):
            if cache.shrink(max(cache.tree.nbytes - excess, 0)):
                mx.clear_cache()
            excess = self._excess(more)
        return excess <= 0

    def _more_bytes(self, tokens: int, rows: int, now: int) -> int:
        """Return the bytes beside those in use that ``rows`` of ``tokens`` may still take."""
        if self.footprint is None:
            return max(rows * self.sequence_bytes(tokens), now)
        spare = self.limit // SPARE_PART
        return max(self.footprint.running_bytes(tokens, rows) - now, 0) - spare

    def _excess(self, more: int) -> int:
        return mx.get_active_memory() + more - self.limit
