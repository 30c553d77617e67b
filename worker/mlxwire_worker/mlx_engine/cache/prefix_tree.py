"""A radix tree over token ids that finds the stored sequence with the longest common prefix.

Plain Python, without MLX. The prompt cache stores its KV caches in one tree and the token ids of
evicted sequences in another.

Theory of operation. A node's edge holds a run of token ids; the path from the root to a node
spells a sequence. An entry (tokens, value, bytes) sits on the node where its sequence ends. A
lookup compares one slice of a list per branching, in C, instead of taking one step per token:
mlx-lm's own trie is quadratic in the part that differs, 0.68 s for 40,000 tokens
(docs/engine-notes.md §5).

Invariants:
- A node below the root has an entry, or at least two children. `remove` restores this by
  deleting bare leaves and joining a node with its only child.
- ``children`` is keyed by the first token of each child's edge; no edge is empty but the root's.
- ``_recency`` holds each entry once, least recently used first; ``nbytes`` is the sum of their
  bytes and never exceeds ``budget`` after a call returns.
- `find` and `prefixes` change nothing. Only `touch` and `insert` count as a use, so asking what
  could be reused does not keep an entry alive.

Threads: none of its own. All calls come from the engine's thread.

Hazards. Nodes refer to their parents, so a dropped tree is a reference cycle. `clear` detaches
the values first; before it did, a cleared cache kept its memory until Python's collector ran.
mlx-lm's cache evicts first in, first out, and one oversized entry evicts all others; here a hit
moves an entry to the end, and an entry larger than the budget is refused before any eviction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")
S = TypeVar("S", list[int], str)


@dataclass(slots=True, eq=False)
class Entry(Generic[V]):
    """A stored sequence: its tokens, the value stored for them, and the value's bytes.

    ``passing`` is the owner's note that a later entry may take its place.
    """

    tokens: list[int]
    value: V
    nbytes: int
    node: _Node[V]
    passing: bool = False


@dataclass(slots=True, eq=False)
class _Node(Generic[V]):
    edge: list[int]
    parent: _Node[V] | None
    children: dict[int, _Node[V]] = field(default_factory=dict)
    entry: Entry[V] | None = None


@dataclass(slots=True)
class Match(Generic[V]):
    """The result of a lookup for one prompt.

    ``common`` is the number of the prompt's first tokens that some stored sequence shares.
    ``whole`` is the longest stored sequence that is a prefix of the prompt. ``sharing`` is a
    stored sequence that begins with those ``common`` tokens.
    """

    common: int
    whole: Entry[V] | None
    sharing: Entry[V] | None


class PrefixTree(Generic[V]):
    """Stored sequences under a budget in bytes. Not thread-safe."""

    def __init__(
        self, budget: int, on_evict: Callable[[list[int]], None] = lambda _: None
    ) -> None:
        self.budget = budget
        self.nbytes = 0
        self._on_evict = on_evict
        self._root: _Node[V] = _Node([], None)
        self._recency: OrderedDict[int, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recency)

    def __iter__(self) -> Iterator[Entry[V]]:
        """Iterate over a copy of the entries, least recently used first."""
        return iter(list(self._recency.values()))

    def find(self, tokens: list[int]) -> Match[V]:
        """Look a prompt up. A lookup does not count as a use; see `touch`."""
        node, position, whole = self._root, 0, None
        while True:
            if node.entry is not None:
                whole = node.entry
            child = node.children.get(tokens[position]) if position < len(tokens) else None
            if child is None:
                return Match(position, whole, whole if position == _size(whole) else _any(node))
            shared = common_prefix(child.edge, tokens, position)
            position += shared
            if shared < len(child.edge):
                return Match(position, whole, _any(child))
            node = child

    def touch(self, entry: Entry[V]) -> None:
        """Mark an entry as the most recently used."""
        self._recency.move_to_end(id(entry))

    def insert(
        self, tokens: list[int], value: V, nbytes: int, *, passing: bool = False
    ) -> bool:
        """Store a sequence and evict the least recently used ones until all fit the budget.

        Return False, and change nothing, if the sequence alone exceeds the budget.
        """
        if nbytes > self.budget:
            return False
        node = self._node_for(tokens)
        if node.entry is not None:
            self._forget(node.entry)
        entry = node.entry = Entry(tokens, value, nbytes, node, passing)
        self._recency[id(entry)] = entry
        self.nbytes += nbytes
        self.shrink(self.budget)
        return True

    def remove(self, entry: Entry[V]) -> None:
        """Remove one entry, and the nodes that no other entry needs."""
        self._forget(entry)
        node = entry.node
        node.entry = None
        while node.parent is not None and node.entry is None and not node.children:
            parent = node.parent
            del parent.children[node.edge[0]]
            node = parent
        if node.parent is not None and node.entry is None and len(node.children) == 1:
            self._join_only_child(node)

    def prefixes(self, tokens: list[int]) -> list[Entry[V]]:
        """Return the stored sequences that are proper prefixes of ``tokens``."""
        found, node, position = [], self._root, 0
        while position < len(tokens):
            child = node.children.get(tokens[position])
            if child is None or common_prefix(child.edge, tokens, position) < len(child.edge):
                break
            position += len(child.edge)
            if child.entry is not None and position < len(tokens):
                found.append(child.entry)
            node = child
        return found

    def below(self, entry: Entry[V]) -> Entry[V] | None:
        """Return a stored sequence that begins with all of an entry's tokens and goes on."""
        children = entry.node.children
        return _any(next(iter(children.values()))) if children else None

    def passing_below(self, entry: Entry[V]) -> list[Entry[V]]:
        """Return the passing entries below an entry that have no other kind between."""
        found: list[Entry[V]] = []
        nodes = list(entry.node.children.values())
        while nodes:
            node = nodes.pop()
            if node.entry is None or node.entry.passing:
                found += [] if node.entry is None else [node.entry]
                nodes += node.children.values()
        return found

    def resize(self, entry: Entry[V], nbytes: int) -> None:
        """Note that the value of an entry now takes ``nbytes``; evict nothing."""
        self.nbytes += nbytes - entry.nbytes
        entry.nbytes = nbytes

    def shrink(self, budget: int) -> int:
        """Evict the least recently used entries until at most ``budget`` bytes are kept.

        Return the number of bytes dropped.
        """
        before = self.nbytes
        while self.nbytes > budget and self._recency:
            oldest = next(iter(self._recency.values()))
            self.remove(oldest)
            self._on_evict(oldest.tokens)
        return before - self.nbytes

    def clear(self) -> None:
        """Remove all entries and release their values now.

        Nodes refer to each other in cycles; the memory of caches must not wait for Python's
        collector.
        """
        for entry in self._recency.values():
            entry.node.entry = None
        self._root = _Node([], None)
        self._recency.clear()
        self.nbytes = 0

    def _forget(self, entry: Entry[V]) -> None:
        del self._recency[id(entry)]
        self.nbytes -= entry.nbytes

    def _node_for(self, tokens: list[int]) -> _Node[V]:
        """Return the node where ``tokens`` ends; create it if it is missing."""
        node, position = self._root, 0
        while position < len(tokens):
            child = node.children.get(tokens[position])
            if child is None:
                child = _Node(tokens[position:], node)
                node.children[tokens[position]] = child
                return child
            shared = common_prefix(child.edge, tokens, position)
            if shared < len(child.edge):
                child = self._split(child, shared)
            node, position = child, position + shared
        return node

    def _split(self, node: _Node[V], at: int) -> _Node[V]:
        """Cut a node's edge in two and return the new upper node."""
        parent = node.parent
        assert parent is not None
        upper: _Node[V] = _Node(node.edge[:at], parent, {node.edge[at]: node})
        parent.children[node.edge[0]] = upper
        node.edge, node.parent = node.edge[at:], upper
        return upper

    def _join_only_child(self, node: _Node[V]) -> None:
        (child,) = node.children.values()
        assert node.parent is not None
        child.edge = node.edge + child.edge
        child.parent = node.parent
        node.parent.children[node.edge[0]] = child


def common_prefix(edge: S, tokens: S, start: int = 0) -> int:
    """Count the first items of ``edge`` that equal those of ``tokens`` from ``start`` on.

    Compare whole slices first, which runs in C, and bisect only if they differ.
    """
    high = min(len(edge), len(tokens) - start)
    if edge[:high] == tokens[start : start + high]:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if edge[low:middle] == tokens[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low


def _any(node: _Node[V]) -> Entry[V] | None:
    """Return an entry at or below a node: the first one on the way down the first children."""
    while node.entry is None:
        if not node.children:
            return None
        node = next(iter(node.children.values()))
    return node.entry


def _size(entry: Entry[V] | None) -> int:
    return -1 if entry is None else len(entry.tokens)
