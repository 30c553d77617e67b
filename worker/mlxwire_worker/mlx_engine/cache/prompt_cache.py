"""Keeps the KV caches of earlier requests for later prompts that begin with the same tokens.

An entry is a sequence's token ids and its caches. A prompt reuses the longest prefix that it
shares with any entry; if the model's caches can't be trimmed, only entries that are prefixes as a
whole. Each result says how much was reused and why not more (docs/lessons.md 42).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...engine import CacheFigures
from . import kv
from .policy import CachePolicy
from .prefix_tree import PrefixTree
from .trimming import trim

DEFAULT_BUDGET = 2 << 30
"""The budget in bytes if the host names none."""

EVICTED_TOKENS = 1 << 17
"""Token ids of evicted sequences to remember, so that a miss can say `evicted` or `cold`."""


@dataclass(slots=True)
class Reuse:
    """Caches that hold the first ``held`` tokens of a prompt.

    ``miss`` says why no more tokens were reused (SPEC §4), None if nothing was missed.
    """

    layers: kv.Layers | None
    held: int
    miss: str | None


@dataclass(slots=True)
class CacheStats:
    """Counts of look-ups, tokens and entries since the model was loaded."""

    hits: int = 0
    evictions: int = 0
    misses: int = 0
    reused_tokens: int = 0
    rejected: int = 0


class PromptCache:
    """The KV caches of ended and running sequences under a budget in bytes.

    Not thread-safe: all calls come from the engine's thread.
    """

    def __init__(self, policy: CachePolicy, budget: int = DEFAULT_BUDGET) -> None:
        self._policy = policy
        self.tree: PrefixTree[kv.Layers] = PrefixTree(budget, self._remember_evicted)
        self.stats = CacheStats()
        self._evicted: PrefixTree[None] = PrefixTree(EVICTED_TOKENS)

    def fetch(self, tokens: list[int]) -> Reuse:
        """Return copies of the caches that hold the longest reusable prefix of a prompt.

        The last token is never reused: its logits are needed to sample the first new token.
        """
        wanted = tokens[:-1]
        found = self.tree.find(wanted)
        whole_size = len(found.whole.tokens) if found.whole else 0
        for entry, held in ((found.sharing, found.common), (found.whole, whole_size)):
            if entry is None or not held:
                continue
            if held < len(entry.tokens) and not self._policy.cuts:
                continue
            layers = kv.snapshot(entry.value)
            if trim(layers, len(entry.tokens), held):
                self.tree.touch(entry)
                self.stats.hits += 1
                self.stats.reused_tokens += held
                whole = held in (len(wanted), len(entry.tokens))
                return Reuse(layers, held, self._why(wanted, held, found.common, whole))
        self.stats.misses += 1
        return Reuse(None, 0, self._why(wanted, 0, found.common, not wanted))

    def store(self, tokens: list[int], layers: kv.Layers) -> bool:
        """Store a sequence; return False if it is empty or alone exceeds the budget.

        Stored prefixes of a trimmable sequence are removed: they can be cut from it.
        """
        if not tokens:
            return False
        if self._policy.trimmable:
            found = self.tree.find(tokens)
            if found.common == len(tokens) and found.sharing is not None:
                self.tree.touch(found.sharing)
                return True
        size = kv.nbytes(layers)
        if size > self.tree.budget:
            self.stats.rejected += 1
            return False
        if self._policy.trimmable:  # before the insert, which would evict others to keep these
            for prefix in self.tree.prefixes(tokens):
                self.tree.remove(prefix)
        return self.tree.insert(list(tokens), layers, size)

    def held_by(self, tokens: list[int]) -> int:
        """Return how many of a prompt's tokens could be reused now."""
        found = self.tree.find(tokens[:-1])
        if self._policy.trimmable:
            return found.common if found.sharing is not None else 0
        return len(found.whole.tokens) if found.whole else 0

    def holds(self, tokens: list[int]) -> bool:
        """Return True if all tokens of a sequence are stored, in its own or a longer entry."""
        found = self.tree.find(tokens)
        return found.common == len(tokens) and found.sharing is not None

    def shrink(self, budget: int) -> int:
        """Evict least recently used entries down to ``budget`` bytes; return the bytes dropped."""
        return self.tree.shrink(budget)

    def clear(self) -> int:
        """Remove all entries, and forget which were evicted; return how many there were."""
        held = len(self.tree)
        self.tree.clear()
        self._evicted.clear()
        return held

    def figures(self) -> CacheFigures:
        """Describe the cache: sequences, bytes, and counts since the model was loaded."""
        stats = self.stats
        return CacheFigures(
            entries=len(self.tree),
            cached_bytes=self.tree.nbytes,
            limit_bytes=self.tree.budget,
            hits=stats.hits,
            misses=stats.misses,
            reused_tokens=stats.reused_tokens,
            evictions=stats.evictions,
            rejected=stats.rejected,
        )

    def _why(self, wanted: list[int], held: int, common: int, whole: bool) -> str | None:
        """Return why no more of a prompt was reused, in the words of SPEC §4."""
        if self._evicted.find(wanted).common > max(held, common):
            return "evicted"
        if common > held:
            return "not trimmable"
        if whole:
            return None
        return f"diverged at {held}" if held else "cold"

    def _remember_evicted(self, tokens: list[int]) -> None:
        self.stats.evictions += 1
        self._evicted.insert(tokens, None, len(tokens))


def begin_alike(first: list[int], second: list[int], size: int) -> bool:
    """Return True if two prompts share their first ``size`` tokens and both are longer.

    The token at ``size - 1`` is compared first: there are thousands of pairs, and most of them
    differ there.
    """
    if size >= len(first) or size >= len(second) or first[size - 1] != second[size - 1]:
        return False
    return first[:size] == second[:size]
