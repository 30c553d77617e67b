"""A radix tree over token ids: which stored sequence shares the longest beginning with a prompt.

Plain Python. Edges hold runs of tokens, so a lookup costs one comparison of lists for each
branching, not one step for each token; entries leave in true least-recently-used order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Entry(Generic[V]):
    """A stored sequence: its tokens, what was stored for them, and that one's bytes."""

    tokens: list[int]
    value: V
    nbytes: int
    node: _Node[V]


@dataclass(slots=True, eq=False)
class _Node(Generic[V]):
    edge: list[int]
    parent: _Node[V] | None
    children: dict[int, _Node[V]] = field(default_factory=dict)
    entry: Entry[V] | None = None


@dataclass(slots=True)
class Match(Generic[V]):
    """``common`` tokens of the prompt are on the tree's path; ``whole`` is the longest stored
    sequence that is a prefix of the prompt, ``sharing`` one that has those common tokens."""

    common: int
    whole: Entry[V] | None
    sharing: Entry[V] | None


class PrefixTree(Generic[V]):
    """Sequences under a budget in bytes. Not for several threads at once."""

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
        """Entries, least recently used first."""
        return iter(list(self._recency.values()))

    def find(self, tokens: list[int]) -> Match[V]:
        """What the tree has for a prompt. Does not count as a use; see `touch`."""
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
        """Count a use."""
        self._recency.move_to_end(id(entry))

    def insert(self, tokens: list[int], value: V, nbytes: int) -> bool:
        """Store a sequence; false if it alone would pass the budget. The oldest make room."""
        if nbytes > self.budget:
            return False
        node = self._node_for(tokens)
        if node.entry is not None:
            self._forget(node.entry)
        entry = node.entry = Entry(tokens, value, nbytes, node)
        self._recency[id(entry)] = entry
        self.nbytes += nbytes
        self.shrink(self.budget)
        return True

    def remove(self, entry: Entry[V]) -> None:
        """Drop one entry and the branches that only it needed."""
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
        """Stored sequences that are proper prefixes of ``tokens``."""
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

    def shrink(self, budget: int) -> int:
        """Drop the least recently used until ``budget`` bytes are kept; returns bytes dropped."""
        before = self.nbytes
        while self.nbytes > budget and self._recency:
            oldest = next(iter(self._recency.values()))
            self.remove(oldest)
            self._on_evict(oldest.tokens)
        return before - self.nbytes

    def clear(self) -> None:
        """Drop everything, and the values at once: nodes refer to each other in circles, and the
        memory of caches must not wait for the collector."""
        for entry in self._recency.values():
            entry.node.entry = None
        self._root = _Node([], None)
        self._recency.clear()
        self.nbytes = 0

    def _forget(self, entry: Entry[V]) -> None:
        del self._recency[id(entry)]
        self.nbytes -= entry.nbytes

    def _node_for(self, tokens: list[int]) -> _Node[V]:
        """The node at the end of ``tokens``, made where it is missing."""
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
        """Cut a node's edge in two; returns the upper half."""
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


def common_prefix(edge: list[int], tokens: list[int], start: int = 0) -> int:
    """How many tokens of ``edge`` stand in ``tokens`` from ``start`` on.

    Compares whole slices first, which runs in C, and halves only where they differ.
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
    """Some entry at or below a node, by the shortest way down the first children."""
    while node.entry is None:
        if not node.children:
            return None
        node = next(iter(node.children.values()))
    return node.entry


def _size(entry: Entry[V] | None) -> int:
    return -1 if entry is None else len(entry.tokens)
