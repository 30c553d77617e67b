"""Keeps the KV caches of earlier requests for later prompts that begin with the same tokens.

An entry is a sequence's token ids and its caches. A prompt reuses the longest prefix that it
shares with any entry; if the model's caches can't be trimmed, only entries that are prefixes as a
whole. Each result says how much was reused and why not more (docs/lessons.md 42).

Theory of operation. Of a model whose caches can be trimmed, the longest entry of a path in the tree
is enough. Of another, each place where a prompt may part from a stored one needs an entry: prefill
leaves one at the end of each message (`sequences.prefill`). Those of one path lend each other what
they have in common: the longest holds the keys and values of every layer that keeps all tokens, and
the others refer to the same arrays (`lending`).

Invariants, for a model whose caches can't be trimmed:
- An entry that has a longer one below it in the tree borrows from one of these. Its bytes count its
  own states alone.
- When the last one below it goes, an entry takes back what it needs, and its bytes count that. So an
  eviction frees less than the evicted entry's bytes, but never nothing.
- A use of an entry is a use of those on its path, so that they are not evicted before other chats.

An answer's end is an entry that passes: the next turn repeats the answer, perhaps without its thoughts,
and leaves an entry at the end of that message, which takes the place of those that pass behind the
message before it. Otherwise each answer that is not repeated would keep a copy of the whole chat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...engine import CacheFigures
from . import kv, lending
from .policy import CachePolicy
from .prefix_tree import Entry, PrefixTree
from .trimming import cut_room, trim

DEFAULT_BUDGET = 2 << 30
"""The budget in bytes if the host names none."""

EVICTED_TOKENS = 1 << 17
"""Token ids of evicted sequences to remember, so that a miss can say `evicted` or `cold`."""


@dataclass(slots=True)
class Reuse:
    """Caches that hold the first ``held`` tokens of a prompt.

    ``miss`` says why no more tokens were reused (SPEC §4), None if nothing was missed. ``common`` is
    the number of the prompt's first tokens that some entry shares, reusable or not.
    """

    layers: kv.Layers | None
    held: int
    miss: str | None
    common: int


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
        self.tree: PrefixTree[kv.Layers] = PrefixTree(budget, self._after_eviction)
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
                self._touch(entry)
                for layer in () if self._policy.trimmable else layers:
                    cut_room(layer, held)  # a lender's buffer is longer
                self.stats.hits += 1
                self.stats.reused_tokens += held
                whole = held in (len(wanted), len(entry.tokens))
                miss = self._why(wanted, held, found.common, whole)
                return Reuse(layers, held, miss, found.common)
        self.stats.misses += 1
        miss = self._why(wanted, 0, found.common, not wanted)
        return Reuse(None, 0, miss, found.common)

    def store(
        self,
        tokens: list[int],
        layers: kv.Layers,
        boundaries: Sequence[int] | None = None,
    ) -> bool:
        """Store a sequence; return False if it is empty or alone exceeds the budget.

        Stored prefixes of a trimmable sequence are removed: they can be cut from it. Those of another
        stay, and share what they have in common with it. ``boundaries`` are those of a chat's prompt
        that the sequence belongs to: it passes if it ends at none of them, and else replaces what does.
        """
        if not tokens:
            return False
        found = self.tree.find(tokens)
        longer = found.sharing if found.common == len(tokens) else None
        if self._policy.trimmable and longer is not None:
            self.tree.touch(longer)
            return True
        if not self._policy.trimmable:
            passing = boundaries is not None and not _is_boundary(len(tokens), boundaries)
            if boundaries is not None and not passing:
                self._remove_passing(tokens, boundaries)
            if longer is None or len(longer.tokens) > len(tokens):
                return self._store_state(tokens, layers, longer, passing=passing)
            longer.passing = longer.passing and passing
            self._touch(longer)
            return True
        size = kv.nbytes(layers)
        if size > self.tree.budget:
            self.stats.rejected += 1
            return False
        # Before the insert, which would evict others to keep these.
        for prefix in self.tree.prefixes(tokens):
            self.tree.remove(prefix)
        return self.tree.insert(list(tokens), layers, size)

    def _store_state(
        self,
        tokens: list[int],
        layers: kv.Layers,
        longer: Entry[kv.Layers] | None,
        *,
        passing: bool,
    ) -> bool:
        """Store caches that can't be trimmed; share arrays with the entries of the same path."""
        lending.compact(layers)
        if longer is not None:
            lending.borrow(layers, longer.value)
            size = lending.state_bytes(layers)
        else:
            size = kv.nbytes(layers)
        if size > self.tree.budget:
            self.stats.rejected += 1
            return False
        for prefix in self.tree.prefixes(tokens):  # before the insert, which may evict
            lending.borrow(prefix.value, layers)
            self.tree.resize(prefix, lending.state_bytes(prefix.value))
            self.tree.touch(prefix)
        return self.tree.insert(list(tokens), layers, size, passing=passing)

    def _remove_passing(self, tokens: list[int], boundaries: Sequence[int]) -> None:
        """Remove the entries whose place one at the end of a message takes."""
        before: Entry[kv.Layers] | None = None
        replaced: list[Entry[kv.Layers]] = []
        for prefix in self.tree.prefixes(tokens):
            if prefix.passing and not _is_boundary(len(prefix.tokens), boundaries):
                replaced.append(prefix)
            else:
                before, replaced = prefix, []
        for entry in replaced if before is None else self.tree.passing_below(before):
            if entry.tokens != tokens:
                self.tree.remove(entry)
                self._lend_anew(entry.tokens)

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

    def forget(self, unwanted: Callable[[list[int]], bool]) -> None:
        """Remove the entries whose tokens are ``unwanted``."""
        for entry in self.tree:
            if unwanted(entry.tokens):
                self.tree.remove(entry)

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

    def _touch(self, entry: Entry[kv.Layers]) -> None:
        """Mark an entry as used, and before it those that are its beginnings."""
        for prefix in self.tree.prefixes(entry.tokens):
            self.tree.touch(prefix)
        self.tree.touch(entry)

    def _after_eviction(self, tokens: list[int]) -> None:
        """Remember an evicted sequence, and let its beginnings do without it."""
        self.stats.evictions += 1
        self._evicted.insert(tokens, None, len(tokens))
        if not self._policy.trimmable:
            self._lend_anew(tokens)

    def _lend_anew(self, gone: list[int]) -> None:
        """Let the beginnings of a removed sequence borrow from others, or take back their own."""
        for prefix in reversed(self.tree.prefixes(gone)):
            lender = self.tree.below(prefix)
            if lender is not None:
                lending.borrow(prefix.value, lender.value)
            elif prefix.nbytes == lending.state_bytes(prefix.value):
                lending.take_back(prefix.value)
                self.tree.resize(prefix, kv.nbytes(prefix.value))


def _is_boundary(length: int, boundaries: Sequence[int]) -> bool:
    """Return True if a sequence ends at a boundary, or one token before: that one is computed last."""
    return length in boundaries or length + 1 in boundaries


def begin_alike(first: list[int], second: list[int], size: int) -> bool:
    """Return True if two prompts share their first ``size`` tokens and both are longer.

    The token at ``size - 1`` is compared first: there are thousands of pairs, and most of them
    differ there.
    """
    if size >= len(first) or size >= len(second) or first[size - 1] != second[size - 1]:
        return False
    return first[:size] == second[:size]
