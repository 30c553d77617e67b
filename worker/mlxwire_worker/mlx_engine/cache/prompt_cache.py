"""What earlier requests computed, for later ones that begin the same way.

Entries are a sequence's tokens and its caches. A prompt takes the longest beginning that any
entry shares; models whose caches can't be trimmed take only whole entries, the boundaries that
were saved. Every answer says what was reused, and why not more (LESSONS 42).
"""

from __future__ import annotations

from dataclasses import dataclass

from . import kv
from .prefix_tree import PrefixTree

DEFAULT_BUDGET = 2 << 30
"""Bytes, where the host named no limit."""

EVICTED_TOKENS = 1 << 17
"""How many tokens of evicted sequences are remembered, to tell `evicted` from `cold`."""


@dataclass(slots=True)
class Reuse:
    """Caches that hold the first ``held`` tokens of a prompt; ``miss`` says why not all."""

    layers: kv.Layers | None
    held: int
    miss: str | None


@dataclass(slots=True)
class CacheStats:
    """Counts since the model was loaded."""

    hits: int = 0
    evictions: int = 0
    misses: int = 0
    reused_tokens: int = 0
    rejected: int = 0


class PromptCache:
    """A tree of sequences' caches under a byte budget. Lives on the engine's thread."""

    def __init__(self, policy: kv.CachePolicy, budget: int = DEFAULT_BUDGET) -> None:
        self._policy = policy
        self.tree: PrefixTree[kv.Layers] = PrefixTree(budget, self._remember_evicted)
        self.stats = CacheStats()
        self._evicted: PrefixTree[None] = PrefixTree(EVICTED_TOKENS)

    def fetch(self, tokens: list[int]) -> Reuse:
        """The most that can be reused for a prompt; its last token is always computed anew."""
        wanted = tokens[:-1]
        found = self.tree.find(wanted)
        whole_size = len(found.whole.tokens) if found.whole else 0
        for entry, held in ((found.sharing, found.common), (found.whole, whole_size)):
            if entry is None or not held:
                continue
            layers = kv.snapshot(entry.value)
            if kv.trim(layers, len(entry.tokens), held):
                self.tree.touch(entry)
                self.stats.hits += 1
                self.stats.reused_tokens += held
                whole = held in (len(wanted), len(entry.tokens))
                return Reuse(layers, held, self._why(wanted, held, found.common, whole))
        self.stats.misses += 1
        return Reuse(None, 0, self._why(wanted, 0, found.common, not wanted))

    def store(self, tokens: list[int], layers: kv.Layers) -> bool:
        """Keep a sequence; false if it alone passes the budget.

        A trimmable sequence makes its own stored beginnings superfluous.
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
        if self._policy.trimmable:  # first, or others would be evicted for what then leaves
            for prefix in self.tree.prefixes(tokens):
                self.tree.remove(prefix)
        return self.tree.insert(list(tokens), layers, size)

    def held_by(self, tokens: list[int]) -> int:
        """How many of a prompt's tokens could be reused now."""
        found = self.tree.find(tokens[:-1])
        if self._policy.trimmable:
            return found.common if found.sharing is not None else 0
        return len(found.whole.tokens) if found.whole else 0

    def holds(self, tokens: list[int]) -> bool:
        """Whether all of a sequence is kept, so that a prompt that goes on from it reuses it."""
        found = self.tree.find(tokens)
        return found.common == len(tokens) and found.sharing is not None

    def shrink(self, budget: int) -> int:
        """Drop the least recently used down to ``budget`` bytes; returns bytes dropped."""
        return self.tree.shrink(budget)

    def clear(self) -> None:
        """Drop everything."""
        self.tree.clear()
        self._evicted.clear()

    def _why(self, wanted: list[int], held: int, common: int, whole: bool) -> str | None:
        """Why no more of a prompt was reused, in the words of SPEC §4."""
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
    """Whether two prompts' first ``size`` tokens are the same, their last ones aside.

    Looks at the last of them first: there are pairs by the thousand, and most part there.
    """
    if size >= len(first) or size >= len(second) or first[size - 1] != second[size - 1]:
        return False
    return first[:size] == second[:size]
