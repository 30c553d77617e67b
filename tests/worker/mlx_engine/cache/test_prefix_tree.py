"""The radix tree against an oracle that compares every stored sequence with every prompt."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.mlx_engine.cache.prefix_tree import PrefixTree, common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=9)
BUDGET = 12


class Naive:
    """Sequences in a list, least recently used first."""

    def __init__(self) -> None:
        self.entries: list[tuple[list[int], int, int]] = []
        self.evicted: list[list[int]] = []

    def insert(self, tokens: list[int], value: int, size: int) -> bool:
        if size > BUDGET:
            return False
        self.remove(tokens)
        self.entries.append((tokens, value, size))
        self.shrink(BUDGET)
        return True

    def remove(self, tokens: list[int]) -> None:
        self.entries = [entry for entry in self.entries if entry[0] != tokens]

    def touch(self, tokens: list[int]) -> None:
        self.entries.sort(key=lambda entry: entry[0] == tokens)

    def shrink(self, budget: int) -> None:
        while self.entries and sum(size for *_, size in self.entries) > budget:
            self.evicted.append(self.entries.pop(0)[0])

    def common(self, tokens: list[int]) -> int:
        return max((common_prefix(one, tokens) for one, *_ in self.entries), default=0)

    def whole(self, tokens: list[int]) -> list[int] | None:
        prefixes = [one for one, *_ in self.entries if one == tokens[: len(one)]]
        return max(prefixes, key=len, default=None)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), TOKENS, st.integers(0, BUDGET + 2)),
        st.tuples(st.sampled_from(["remove", "touch"]), TOKENS, st.just(0)),
        st.tuples(st.just("shrink"), st.just([]), st.integers(0, BUDGET)),
        st.tuples(st.just("clear"), st.just([]), st.just(0)),
    ),
    max_size=25,
)


def apply(tree: PrefixTree[int], naive: Naive, name: str, tokens: list[int], size: int) -> None:
    stored = {tuple(entry.tokens): entry for entry in tree}
    match name:
        case "insert":
            assert tree.insert(tokens, size, size) == naive.insert(tokens, size, size)
        case "shrink":
            before = tree.nbytes
            assert tree.shrink(size) == before - tree.nbytes
            naive.shrink(size)
        case "clear":
            tree.clear()
            naive.entries.clear()
        case _ if tuple(tokens) in stored:
            getattr(tree, name)(stored[tuple(tokens)])
            getattr(naive, name)(tokens)


@settings(max_examples=250, deadline=None)
@given(OPERATIONS, st.lists(TOKENS, min_size=1, max_size=4))
def test_the_tree_agrees_with_a_list(
    operations: list[tuple[str, list[int], int]], prompts: list[list[int]]
) -> None:
    evicted: list[list[int]] = []
    tree: PrefixTree[int] = PrefixTree(BUDGET, evicted.append)
    naive = Naive()
    for operation in operations:
        apply(tree, naive, *operation)
        assert [(e.tokens, e.value, e.nbytes) for e in tree] == naive.entries
        assert tree.nbytes == sum(size for *_, size in naive.entries)
        assert len(tree) == len(naive.entries)
        assert evicted == naive.evicted
    for prompt in prompts:
        found = tree.find(prompt)
        assert found.common == naive.common(prompt)
        assert (found.whole and found.whole.tokens) == naive.whole(prompt)
        if found.common:
            assert found.sharing is not None
            assert found.sharing.tokens[: found.common] == prompt[: found.common]
        assert [entry.tokens for entry in tree.prefixes(prompt)] == sorted(
            (one for one, *_ in naive.entries if one and prompt[: len(one)] == one != prompt),
            key=len,
        )


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)), st.integers(0, 3))
def test_the_common_prefix_is_counted_token_by_token(
    edge: list[int], tokens: list[int], start: int
) -> None:
    start = min(start, len(tokens))
    expected = 0
    while (
        edge[expected : expected + 1] == tokens[start + expected : start + expected + 1] != []
    ):
        expected += 1

    assert common_prefix(edge, tokens, start) == expected
