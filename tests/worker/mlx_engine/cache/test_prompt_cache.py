"""Earlier requests' work is reused without changing a text; a miss says why."""

from __future__ import annotations

import random

import pytest

from mlxwire_worker.mlx_engine.cache import kv
from mlxwire_worker.prompts import Prompt
from support.direct import Direct
from worker.mlx_engine.conftest import Open

LONG = "the weather in Paris is fine and warm and everyone is out in the streets, " * 6


@pytest.fixture(autouse=True)
def empty(llama: Direct) -> None:
    llama.forget()
    llama.loaded.cache.tree.budget = 1 << 30


def computed(prompt: Prompt) -> int:
    """Return the number of prompt tokens that were not reused."""
    return len(prompt.ids) - prompt.cached_tokens


def ask(direct: Direct, prompt: Prompt) -> Prompt:
    direct.run([prompt])
    return prompt


def test_a_sequence_that_goes_on_computes_what_is_new(llama: Direct) -> None:
    first = ask(llama, llama.prepare(LONG, max_tokens=8, ignore_eos=True))
    tokens = llama.answers[first].tokens
    new = [7, 8, 9]

    second = ask(llama, llama.prepare(first.ids + tokens[:-1] + new, max_tokens=2))

    assert (first.cached_tokens, first.cache_miss) == (0, "cold")
    assert (computed(second), second.cache_miss) == (len(new), None)


def test_the_same_prompt_again_computes_its_last_token_alone(llama: Direct) -> None:
    for _ in range(2):
        prompt = ask(llama, llama.prepare(LONG, max_tokens=3))

    assert (computed(prompt), prompt.cache_miss) == (1, None)


def test_a_miss_says_where_the_prompts_part(llama: Direct) -> None:
    first = ask(llama, llama.prepare(LONG, max_tokens=2))
    other = list(first.ids)
    other[40] = other[40] + 1

    parted = ask(llama, llama.prepare(other, max_tokens=2))

    assert (parted.cached_tokens, parted.cache_miss) == (40, "diverged at 40")
    assert ask(llama, llama.prepare([9, 9, 9], max_tokens=1)).cache_miss == "cold"


def test_a_miss_says_evicted_and_later_no_more(llama: Direct) -> None:
    first = ask(llama, llama.prepare(LONG, max_tokens=2))
    llama.loaded.cache.shrink(0)

    again = ask(llama, llama.prepare(first.ids, max_tokens=2))
    third = ask(llama, llama.prepare(first.ids, max_tokens=2))

    assert (again.cached_tokens, again.cache_miss) == (0, "evicted")
    assert third.cache_miss is None


def test_a_request_that_opts_out_neither_reads_nor_writes(llama: Direct) -> None:
    out = ask(llama, llama.prepare(LONG, max_tokens=4, cache=False))
    assert len(llama.loaded.cache.tree) == 0
    assert (out.cached_tokens, out.cache_miss) == (0, "disabled")

    ask(llama, llama.prepare(LONG, max_tokens=4))
    again = ask(llama, llama.prepare(LONG, max_tokens=4, cache=False))
    assert (again.cached_tokens, again.cache_miss) == (0, "disabled")

    others = [llama.prepare(LONG + str(n), max_tokens=9, cache=False) for n in range(3)]
    reader = llama.prepare(LONG + "0 and", max_tokens=2)
    llama.forget()
    llama.add(others[0])
    llama.decoding(others[0])
    llama.run([*others[1:], reader])
    assert reader.cached_tokens == 0


def test_a_cancelled_prefill_goes_on_where_it_stopped(llama: Direct) -> None:
    ids = [random.Random(1).randrange(3, 600) for _ in range(1500)]
    expected = llama.tokens(ids, max_tokens=6, cache=False)
    llama.runner._chunk.tokens = 256
    first = llama.add(llama.prepare(ids, max_tokens=6))
    llama.until(lambda: llama.row(first).held >= 256)
    held = llama.row(first).held
    llama.cancel([first])

    retry = ask(llama, llama.prepare(ids, max_tokens=6))

    assert 256 <= held < len(ids) - 1
    assert retry.cached_tokens == held
    assert llama.answers[retry].tokens == expected


def test_a_cancelled_decode_is_reusable_too(llama: Direct) -> None:
    first = llama.add(llama.prepare(LONG, max_tokens=50, ignore_eos=True))
    llama.decoding(first, 10)
    so_far = list(llama.answers[first].tokens)
    llama.cancel([first])

    second = ask(llama, llama.prepare(first.ids + so_far + [3, 4], max_tokens=2))

    assert computed(second) == 2


@pytest.mark.parametrize("chunk", [16, 4096])
def test_sixteen_at_once_compute_their_common_beginning_once(llama: Direct, chunk: int) -> None:
    llama.runner._chunk.tokens = chunk
    llama.runner._chunk._seconds = 1e9 if chunk > 16 else 1e-9
    tails = [f"{number} is the {number * 7}th" for number in range(16)]
    prompts = [llama.prepare(LONG + tail, max_tokens=5) for tail in tails]
    alone = [llama.tokens(LONG + tail, max_tokens=5, cache=False) for tail in tails]

    answers = llama.run(prompts)
    llama.runner._chunk._seconds = 0.1

    shared = len(llama.prepare(LONG).ids) - 2
    assert sum(map(computed, prompts)) <= shared + sum(len(p.ids) - shared for p in prompts)
    assert [answer.tokens for answer in answers] == alone


def test_a_request_reuses_what_a_decoding_one_holds(llama: Direct) -> None:
    first = llama.add(llama.prepare(LONG, max_tokens=30, ignore_eos=True))
    llama.decoding(first, 3)
    assert len(llama.loaded.cache.tree) == 0

    second = llama.prepare(LONG + "and then", max_tokens=4)
    alone = llama.tokens(LONG + "and then", max_tokens=4, cache=False)
    llama.run([second])

    assert computed(second) <= 4
    assert llama.answers[second].tokens == alone


def test_the_least_recently_used_leaves_first(llama: Direct) -> None:
    prompts = [[number] * 300 for number in range(10, 14)]
    for ids in prompts[:3]:
        ask(llama, llama.prepare(ids, max_tokens=1))
    tree = llama.loaded.cache.tree
    ask(llama, llama.prepare(prompts[0], max_tokens=1))  # a use
    # Half an entry to spare: their sizes differ by how a prompt was cut into chunks.
    tree.budget = tree.nbytes * 7 // 6
    ask(llama, llama.prepare(prompts[3], max_tokens=1))

    assert [entry.tokens[0] for entry in tree] == [12, 10, 13]
    assert tree.nbytes <= tree.budget


def test_a_sequence_larger_than_the_budget_evicts_nobody(llama: Direct) -> None:
    ask(llama, llama.prepare([9] * 40, max_tokens=1))
    cache = llama.loaded.cache
    cache.tree.budget = cache.tree.nbytes
    rejected = cache.stats.rejected

    ask(llama, llama.prepare([8] * 3000, max_tokens=1))

    assert [entry.tokens[0] for entry in cache.tree] == [9]
    assert cache.stats.rejected > rejected


def test_a_longer_turn_takes_the_place_of_its_own_beginning_alone(llama: Direct) -> None:
    ask(llama, llama.prepare([8] * 200, max_tokens=1))
    first = ask(llama, llama.prepare([9] * 200, max_tokens=1))
    cache = llama.loaded.cache
    cache.tree.budget = cache.tree.nbytes
    evictions = cache.stats.evictions

    ask(llama, llama.prepare(first.ids + [7] * 20, max_tokens=1))

    assert sorted(entry.tokens[0] for entry in cache.tree) == [8, 9]
    assert cache.stats.evictions == evictions


def test_one_shared_token_does_not_bring_a_long_sequence_s_memory_along(llama: Direct) -> None:
    ask(llama, llama.prepare([8] * 3000, max_tokens=1))
    row = llama.add(llama.prepare([8, 9, 9, 9], max_tokens=9, ignore_eos=True))
    llama.decoding(row)

    assert row.cached_tokens == 1
    assert llama.runner.nbytes <= 256 * llama.loaded.guard.bytes_per_token
    llama.finish()


def test_reused_caches_are_not_written_by_those_that_reuse_them(llama: Direct) -> None:
    ids = llama.prepare(LONG).ids
    branches = [[*ids[:60], number, number + 1] for number in range(30, 36)]
    alone = [llama.tokens(branch, max_tokens=9, cache=False) for branch in branches]
    ask(llama, llama.prepare(ids, max_tokens=3))

    for _ in range(2):
        prompts = [llama.prepare(branch, max_tokens=9) for branch in branches]
        assert [answer.tokens for answer in llama.run(prompts)] == alone
        assert all(prompt.cached_tokens >= 60 for prompt in prompts)


@pytest.mark.parametrize(
    ("family", "quantized"),
    [
        ("llama3", False),
        ("qwen2", False),
        ("deepseek-r1-qwen2", False),
        ("gemma3", False),
        ("qwen3", True),
    ],
)
def test_text_is_the_same_with_and_without_the_cache(
    open_model: Open, family: str, quantized: bool
) -> None:
    direct = open_model(family, quantized=quantized)
    dice = random.Random(family)
    ids: list[int] = direct.prepare("Hello. ").ids
    reused = 0
    for turn in range(7):
        # Gemma's window is 32 tokens: some turns end before it is full, some beyond.
        ids = ids + [dice.randrange(120, 300) for _ in range(dice.choice([2, 9, 40]))]
        if turn == 4:
            ids = [*ids[: len(ids) // 2], 130, 131]
        options = {"max_tokens": 6, "ignore_eos": True}
        expected = direct.tokens(ids, cache=False, **options)
        prompt = direct.prepare(ids, **options)
        company = [direct.prepare([*ids[: 5 + 3 * n], 140 + n], **options) for n in range(3)]
        direct.run([prompt, *company] if turn % 2 else [prompt])
        assert direct.answers[prompt].tokens == expected, turn
        reused += prompt.cached_tokens
        ids = ids + expected[: dice.choice([3, 5])]

    assert reused > len(ids)


def test_a_window_that_has_rotated_is_not_trimmed_and_says_so(open_model: Open) -> None:
    gemma = open_model("gemma3")
    first = ask(gemma, gemma.prepare([130] * 90, max_tokens=3, ignore_eos=True))

    parted = ask(gemma, gemma.prepare([130] * 70 + [140] * 20, max_tokens=3))
    longer = ask(gemma, gemma.prepare([*first.ids, 150, 151], max_tokens=3))
    again = ask(gemma, gemma.prepare(first.ids, max_tokens=3))

    assert (parted.cached_tokens, parted.cache_miss) == (0, "not trimmable")
    assert (longer.cached_tokens, longer.cache_miss) == (89, "not trimmable")
    assert (again.cached_tokens, again.cache_miss) == (89, None)


def test_sharing_leaves_the_row_that_is_shared_from_undisturbed(llama: Direct) -> None:
    expected = llama.tokens(LONG, max_tokens=40, cache=False, ignore_eos=True)
    first = llama.add(llama.prepare(LONG, max_tokens=40, ignore_eos=True))
    for number in range(4):
        llama.decoding(first, 3 + 5 * number)
        llama.add(llama.prepare(LONG + f"{number} more words", max_tokens=4))
    llama.finish()

    assert llama.answers[first].tokens == expected


def test_a_snapshot_costs_nothing_until_it_is_written(llama: Direct) -> None:
    import mlx.core as mx

    ask(llama, llama.prepare([5] * 2000, max_tokens=1))
    (entry,) = llama.loaded.cache.tree
    mx.synchronize()
    before = mx.get_active_memory()

    copies = [kv.snapshot(entry.value) for _ in range(20)]

    assert mx.get_active_memory() - before < entry.nbytes / 10
    assert len(copies) == 20
