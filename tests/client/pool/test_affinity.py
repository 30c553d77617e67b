"""Prompts that share a beginning are found."""

from __future__ import annotations

from mlxwire.pool.affinity import BLOCK_CHARS, MOST_BLOCKS, PrefixMemory, beginnings


def chat(*contents: str) -> dict[str, object]:
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": c} for n, c in enumerate(contents)]
    return {"messages": turns}


def depth_after(seen: dict[str, object], asked: dict[str, object]) -> int:
    memory = PrefixMemory()
    memory.remember(beginnings(seen))
    return memory.depth(beginnings(asked))


def test_a_chat_that_goes_on_is_recognised_by_all_of_its_turns():
    assert depth_after(chat("a", "b"), chat("a", "b", "c")) == 2
    assert depth_after(chat("a", "b"), chat("a", "x", "c")) == 1


def test_another_chat_shares_nothing():
    assert depth_after(chat("a", "b"), chat("x", "b")) == 0
    assert depth_after(chat("a"), {"messages": [{"role": "system", "content": "a"}]}) == 0


def test_a_documents_first_pages_count_within_a_message_and_in_a_raw_prompt():
    pages = "x" * BLOCK_CHARS * 3
    assert depth_after(chat(pages + "one"), chat(pages + "two")) == 3
    assert depth_after({"prompt": pages + "one"}, {"prompt": pages + "two"}) == 3
    assert depth_after({"prompts": [pages, "y"]}, {"prompt": pages}) == 3


def test_a_short_raw_prompt_has_no_beginning_worth_a_detour():
    assert beginnings({"prompt": "short"}) == []
    assert beginnings({"action": "stats"}) == []
    assert beginnings({"prompts": []}) == []
    assert beginnings({"messages": []}) == []
    assert beginnings({"texts": ["a"]}) == []
    turn = {"role": "user", "content": "x"}
    assert beginnings({"messages": [[turn], [turn, turn]]}) == beginnings({"messages": [turn]})


def test_what_is_looked_at_and_remembered_is_bounded():
    assert len(beginnings({"prompt": "x" * BLOCK_CHARS * (MOST_BLOCKS + 9)})) == MOST_BLOCKS
    memory = PrefixMemory(limit=4)
    memory.remember([1, 2, 3, 4])
    memory.remember([1, 5])
    assert [memory.depth([key]) for key in (1, 2, 3, 4, 5)] == [1, 0, 1, 1, 1]


def test_a_worker_that_was_started_anew_has_seen_nothing():
    memory = PrefixMemory()
    memory.remember([1, 2])
    memory.forget()
    assert memory.depth([1, 2]) == 0
