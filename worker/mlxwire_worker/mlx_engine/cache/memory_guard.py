"""Estimates the memory that sequences will take and defers requests that would exceed a limit.

MLX's own limit is advisory: it was exceeded 25 times over without an error
(docs/engine-notes.md §15). A request that fits when it runs alone is deferred, never refused.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import RotatingKVCache

from .policy import CachePolicy
from .prompt_cache import PromptCache

PROBE_TOKENS = 256
STEP_TOKENS = 256
"""Caches grow by this many tokens at a time (`KVCache.step`), counted from any length."""


class MemoryGuard:
    """Measures the bytes that one token's cache takes, and keeps all sequences below a limit.

    ``limit`` is in bytes; None and 0 mean no limit.
    """

    def __init__(self, model: Any, policy: CachePolicy, limit: int | None) -> None:
        self.limit = limit or 0
        self._per_token: list[tuple[float, int | None]] = []
        self._fixed = 0
        layers = policy.make()
        # Nothing is evaluated: the shapes of lazy arrays are known.
        model(mx.zeros((1, PROBE_TOKENS), dtype=mx.int32), cache=layers)
        for layer in layers:
            size = layer.nbytes
            if not hasattr(layer, "offset"):
                self._fixed += size
                continue
            window = layer.max_size if isinstance(layer, RotatingKVCache) else None
            self._per_token.append((size / PROBE_TOKENS, window))

    @property
    def bytes_per_token(self) -> int:
        """Return the bytes that one more token takes while no window is full."""
        return round(sum(size for size, _ in self._per_token))

    def sequence_bytes(self, tokens: int) -> int:
        """Return the bytes that the cache of a sequence of ``tokens`` takes at most."""
        tokens += STEP_TOKENS - 1
        held = sum(size * min(tokens, window or tokens) for size, window in self._per_token)
        return self._fixed + round(held)

    def trim(self, cache: PromptCache) -> None:
        """Shrink the prompt cache if it and the running sequences exceed the limit, which is set."""
        excess = mx.get_active_memory() - self.limit
        if excess > 0:
            cache.shrink(max(cache.tree.nbytes - excess, 0))

    def has_room(self, lengths: list[int], now: int, cache: PromptCache) -> bool:
        """Return True if sequences of these final ``lengths`` in tokens fit into the limit.

        ``now`` is the number of bytes that the batch's caches hold at present. They count twice,
        because the batch is copied when a row joins, and a batch's cache is as long as its longest
        row. The prompt cache is shrunk first if that makes enough room, or if there is only one
        sequence.
        """
        if not self.limit:
            return True
        more = max(len(lengths) * self.sequence_bytes(max(lengths)), now)
        excess = mx.get_active_memory() + more - self.limit
        if excess > 0 and (excess <= cache.tree.nbytes or len(lengths) == 1):
            if cache.shrink(max(cache.tree.nbytes - excess, 0)):
                mx.clear_cache()
            excess = mx.get_active_memory() + more - self.limit
        return excess <= 0
