"""How much memory sequences will take, measured, and whether one more fits.

mlx's own limit is advisory (25 times overshot, ENGINE.md §15), so requests are deferred here
before it would be passed; nothing that would fit alone is ever refused.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import RotatingKVCache

from . import kv
from .prompt_cache import PromptCache

PROBE_TOKENS = 256
STEP_TOKENS = 256
"""Caches grow by so many tokens at once (KVCache.step), from wherever they are."""


class MemoryGuard:
    """Bytes a sequence's cache takes, and the limit that all of them keep to."""

    def __init__(self, model: Any, policy: kv.CachePolicy, limit: int | None) -> None:
        self.limit = limit or 0
        self._per_token: list[tuple[float, int | None]] = []
        self._fixed = 0
        layers = policy.make()
        # Shapes are known without computing: nothing here is evaluated.
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
        """What one more token of one sequence takes, within every window."""
        return round(sum(size for size, _ in self._per_token))

    def sequence_bytes(self, tokens: int) -> int:
        """What a sequence of so many tokens takes."""
        tokens += STEP_TOKENS - 1
        held = sum(size * min(tokens, window or tokens) for size, window in self._per_token)
        return self._fixed + round(held)

    def trim(self, cache: PromptCache) -> None:
        """Let the prompt cache give way where what runs has grown past the limit beside it."""
        excess = mx.get_active_memory() - self.limit
        if self.limit and excess > 0:
            cache.shrink(max(cache.tree.nbytes - excess, 0))

    def has_room(self, lengths: list[int], now: int, cache: PromptCache) -> bool:
        """Whether sequences of these final lengths fit; the prompt cache gives way first, if that
        is enough or the sequence is alone, which is never refused.

        A batch's cache is as long as its longest row, and is copied once where a row joins,
        so ``now``, its bytes today, count twice.
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
