"""Cuts the last tokens off a sequence's caches, where what is left is provably whole.

Theory of operation. mlx-lm's `is_trimmable` is a promise about a class, and `trim` cuts what is
there and says nothing about the rest. A window that has slid has lost the tokens before it, so
what is left after a cut may lack tokens that the next one attends to. `trim` here decides by the
class and by the state: which tokens a layer's buffer holds, and which of them the next token needs.
A class that is not listed is never cut.

What went wrong before: Llama 4's chunked layers cut as far as their window reached and answered
with other tokens. `ConcatenateKVCache.trim` moves its offset and keeps its whole buffer, so the
next write came after tokens that had been cut off.
"""

from __future__ import annotations

from typing import Any

from mlx_lm.models.cache import (
    CacheList,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    RotatingKVCache,
)

from .kv import each_cache
from .packed import PackedKVCache

_WHOLE = (KVCache, PackedKVCache, ConcatenateKVCache)
"""Classes that keep every token, whatever the length."""


def reach(layers: list[Any]) -> int | None:
    """Return the number of tokens below which empty caches of these classes can always be cut.

    None stands for any number, 0 for none.
    """
    found: int | None = None
    for layer in layers:
        if keeps_all(layer):
            continue
        own = layer.max_size if type(layer) is RotatingKVCache else 0
        found = own if found is None else min(found, own)
    return found


def keeps_all(layer: Any) -> bool:
    """Return True if a cache of this class keeps every token, so that any cut leaves it whole."""
    if type(layer) is CacheList:
        return all(keeps_all(child) for child in layer.caches)
    return type(layer) in _WHOLE


def trim(layers: list[Any], held: int, wanted: int) -> bool:
    """Cut plain caches from ``held`` tokens to the first ``wanted``, in place.

    Return False, and change nothing, if one of them would not be whole afterwards.
    """
    if held == wanted:
        return True
    if not all(_can_cut(layer, held, wanted) for layer in layers):
        return False
    for layer in layers:
        _cut(layer, held - wanted, wanted)
    return True


def _can_cut(layer: Any, held: int, wanted: int) -> bool:
    """Return True if a layer holds ``held`` tokens, and all that the token at ``wanted`` needs."""
    kind = type(layer)
    if kind is CacheList:
        return all(_can_cut(child, held, wanted) for child in layer.caches)
    if kind in _WHOLE:
        return bool(layer.offset == held)
    if kind is RotatingKVCache:  # before its first turn, tokens lie in order from the first on
        return bool(layer.offset == layer._idx == held < layer.max_size)
    if kind is ChunkedKVCache:  # the next token attends to its own chunk alone
        chunk = wanted // layer.chunk_size * layer.chunk_size
        return bool(layer.offset == held and layer.start_position <= chunk)
    return False


def _cut(layer: Any, tokens: int, wanted: int) -> None:
    for part in each_cache([layer]):
        part.trim(tokens)
        cut_room(part, wanted)


def cut_room(layer: Any, wanted: int) -> None:
    """Cut a cache's buffer to the tokens that it holds, rounded up to a step of its growth.

    The next write copies the whole buffer. Without the cut, reusing one token of a long sequence
    would take as much memory as the sequence.
    """
    for part in each_cache([layer]):
        if type(part) not in _WHOLE or part.keys is None:
            continue
        step = getattr(part, "step", 1)  # a concatenated buffer ends with its last token
        room = -(-wanted // step) * step
        part.keys, part.values = part.keys[..., :room, :], part.values[..., :room, :]
