"""Works out the bytes that the caches of a sequence take, from the shapes of lazy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import (
    ArraysCache,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    RotatingKVCache,
)

from .kv import each_cache
from .policy import CachePolicy

PROBE_TOKENS = 256
STEP_TOKENS = 256
"""Caches grow by this many tokens at a time (`KVCache.step`), counted from any length."""
JOINING_LAYERS = 2
"""Layers whose old and new caches are in memory at once while a row joins others."""
_GROWING = (KVCache, RotatingKVCache, ChunkedKVCache, ConcatenateKVCache)


class CacheSize(NamedTuple):
    """The bytes of one cache: a fixed part, and one that grows until it holds ``window`` tokens."""

    bytes_per_token: float = 0.0
    fixed_bytes: float = 0.0
    window: int | None = None

    def nbytes(self, tokens: int) -> float:
        """Return the bytes of a cache with room for ``tokens``."""
        return self.fixed_bytes + self.bytes_per_token * min(tokens, self.window or tokens)


class CacheSizes:
    """The bytes that the caches of one sequence of a model take; ``layers`` is their number."""

    def __init__(self, model: Any, policy: CachePolicy) -> None:
        probe = mx.zeros((1, PROBE_TOKENS), dtype=mx.int32)
        layers = policy.make()
        self.layers = len(layers)
        # Nothing is evaluated: the shapes of lazy arrays are known.
        model(probe, cache=layers)
        caches = list(each_cache(layers))
        first = [cache.nbytes for cache in caches]
        second = first
        if not all(isinstance(cache, (*_GROWING, ArraysCache)) for cache in caches):
            model(probe, cache=layers)
            second = [cache.nbytes for cache in each_cache(layers)]
        self._sizes = [_size(*each) for each in zip(caches, first, second, strict=True)]

    @property
    def bytes_per_token(self) -> int:
        """Return the bytes that one more token takes while no window is full."""
        return round(sum(size.bytes_per_token for size in self._sizes))

    @property
    def fixed_bytes(self) -> int:
        """Return the bytes that a sequence takes whatever its length."""
        return round(sum(size.fixed_bytes for size in self._sizes))

    def sequence_bytes(self, tokens: int) -> int:
        """Return the bytes that the caches of a sequence of ``tokens`` take at most."""
        return self.nbytes(tokens + STEP_TOKENS - 1)

    def copied_bytes(self, held: int, rows: int) -> int:
        """Return the bytes of caches that exist twice at the peak, of ``rows`` that hold ``held`` bytes.

        These are a row's own during a slice of its prompt, or those of some layers while a row joins.
        """
        joining = JOINING_LAYERS * held // max(self.layers, 1) if rows > 1 else 0
        return max(held // rows, joining)

    def nbytes(self, tokens: int) -> int:
        """Return the bytes that the caches of a sequence with room for ``tokens`` take."""
        return round(sum(size.nbytes(tokens) for size in self._sizes))


def window_of(cache: Any) -> int | None:
    """Return the number of tokens past which a cache forgets the oldest; None if it keeps all."""
    if isinstance(cache, RotatingKVCache):
        return int(cache.max_size)
    return int(cache.chunk_size) if isinstance(cache, ChunkedKVCache) else None


def _size(cache: Any, first: int, second: int) -> CacheSize:
    """Return the size of a cache from its bytes after one probe, and after another one."""
    if isinstance(cache, _GROWING):
        return CacheSize(first / PROBE_TOKENS, 0.0, window_of(cache))
    growth = (second - first) / PROBE_TOKENS  # an architecture's own class may do both
    return CacheSize(growth, first - growth * PROBE_TOKENS)
