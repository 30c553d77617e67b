"""Chats of models whose caches can't be cut reuse every turn that they share, at any message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.cache import kv, lending, sealed_file
from mlxwire_worker.mlx_engine.sequences.prefill import SHARE_TOKENS
from mlxwire_worker.prompts import ChatInput, Prompt, SamplingParams
from support.adapters import random_adapter
from support.chat_models import SYSTEM, UNCUT, answer, build_chat_model, chat_of, question
from support.direct import Direct

Messages = list[dict[str, Any]]
OPTIONS: dict[str, Any] = {"max_tokens": 3, "ignore_eos": True}


@pytest.fixture(scope="module", params=[*UNCUT, "gemma3 packed"])
def uncut(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    """Yield an engine with each of the models in turn; the last one's keys are quantized."""
    name, _, packed = request.param.partition(" ")
    options = {"kv_bits": 8, "kv_group_size": 32} if packed else {}
    direct = Direct(build_chat_model(name, tmp_path_factory.mktemp(name)), **options)
    yield direct
    direct.close()


@pytest.fixture(scope="module")
def lfm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    """Yield an engine with a model that has both kinds of layer: some keep all tokens."""
    direct = Direct(build_chat_model("lfm2", tmp_path_factory.mktemp("lfm2")))
    yield direct
    direct.close()


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    for name in {"uncut", "lfm"} & set(request.fixturenames):
        direct = request.getfixturevalue(name)
        direct.forget()
        direct.loaded.cache.tree.budget = 1 << 30


def starts(direct: Direct, messages: Messages) -> list[int]:
    """Return where each message begins in the prompt, and where the last one ends."""
    rendered = direct.engine.rendered(ChatInput(messages=messages))
    return [*(tokens.start for tokens in rendered.messages), rendered.answer_start]


def ask(direct: Direct, messages: Messages, **options: Any) -> Prompt:
    """Run a chat, and check that its text is the one without the cache."""
    plain = direct.prepare_chat(messages, **OPTIONS, **options, cache=False)
    prompt = direct.prepare_chat(messages, **OPTIONS, **options)
    (expected,), (got,) = direct.run([plain]), direct.run([prompt])
    assert got.tokens == expected.tokens
    return prompt


def test_a_turn_computes_its_new_text_and_one_message_at_most(uncut: Direct) -> None:
    assert not uncut.loaded.policy.trimmable
    messages = chat_of(10)
    places = starts(uncut, messages)
    for turn in range(1, 11):
        prompt = ask(uncut, chat_of(turn))
        # The answer before this question is new: the model's own differs from the host's.
        if turn > 1:
            assert prompt.cached_tokens >= places[2 * turn - 2], turn

    for place in (1, 2, 7, 12, 18):
        edited = [dict(message) for message in messages[: place + 1]]
        edited[place]["content"] = "Changed. " + edited[place]["content"]
        if edited[place]["role"] == "assistant":
            edited.append(question(77))
        assert ask(uncut, edited).cached_tokens >= places[place], place


def test_what_asks_for_an_answer_is_no_part_of_later_turns(uncut: Direct) -> None:
    thinking = {} if uncut.loaded.switch is None else {"thinking": False}
    places = starts(uncut, chat_of(4))
    for turn in range(1, 5):
        prompt = ask(uncut, chat_of(turn), **thinking)
        # The mark of an empty thought is before the answer now, and in no later turn.
        assert turn == 1 or prompt.cached_tokens >= places[2 * turn - 2]


def test_a_long_chat_that_comes_whole_leaves_its_messages_behind(uncut: Direct) -> None:
    messages = chat_of(5)
    ask(uncut, messages)

    for place in (1, 2, 5, 8):
        asked = messages[place]["role"] == "user"
        new = [question(70 + place)] if asked else [answer(70 + place), question(90)]
        shorter = [*messages[:place], *new]
        assert ask(uncut, shorter).cached_tokens >= starts(uncut, messages)[place], place


def test_chats_that_come_together_compute_their_system_prompt_once(uncut: Direct) -> None:
    chats = [[SYSTEM, question(n)] for n in range(4)]
    system = starts(uncut, chats[0])[1]
    alone = [
        uncut.run([uncut.prepare_chat(chat, **OPTIONS, cache=False)])[0].tokens
        for chat in chats
    ]
    assert system >= SHARE_TOKENS

    prompts = [uncut.prepare_chat(chat, **OPTIONS) for chat in chats]
    answers = uncut.run(prompts)

    assert [given.tokens for given in answers] == alone
    assert [prompt.cached_tokens >= system for prompt in prompts] == [False, True, True, True]


def test_chats_side_by_side_reuse_their_own_turns(uncut: Direct) -> None:
    def chat(number: int, turn: int) -> Messages:
        messages = chat_of(turn)
        messages[1] = question(100 + number)
        return messages

    for turn in range(1, 4):
        chats = [chat(number, turn) for number in range(3)]
        plain = [uncut.prepare_chat(messages, **OPTIONS, cache=False) for messages in chats]
        alone = [answered.tokens for one in plain for answered in uncut.run([one])]
        prompts = [uncut.prepare_chat(messages, **OPTIONS) for messages in chats]

        together = uncut.run(prompts)

        assert [answered.tokens for answered in together] == alone
        if turn > 1:
            least = starts(uncut, chats[0])[2 * turn - 2]
            assert all(prompt.cached_tokens >= least for prompt in prompts)


def test_a_warmed_chat_has_all_its_messages(uncut: Direct) -> None:
    chat = ChatInput(messages=chat_of(3))
    warm = uncut.engine.chat_prompt(chat, SamplingParams(max_tokens=0))
    uncut.run([warm])

    assert uncut.engine.warmed_tokens(warm) == len(warm.ids)
    for place in (1, 3, 5):
        messages = [*chat_of(3)[:place], question(70 + place)]
        assert ask(uncut, messages).cached_tokens >= starts(uncut, messages)[place]


def test_what_can_t_be_kept_costs_no_answer(
    lfm: Direct, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(lending, "compact", full)
    plain = lfm.prepare_chat(chat_of(3), **OPTIONS, cache=False)
    prompt = lfm.add(lfm.prepare_chat(chat_of(3), **OPTIONS))
    lfm.until(lambda: lfm.row(prompt).held > 0)
    assert not lfm.row(prompt).stops
    monkeypatch.undo()
    lfm.finish()

    assert lfm.answers[prompt].tokens == lfm.run([plain])[0].tokens
    assert "MemoryError" in capfd.readouterr().err


def test_each_adapter_has_messages_of_its_own(lfm: Direct) -> None:
    adapter = random_adapter(lfm.loaded, 1, ends=("in_proj", "out_proj", "q_proj", "w1"))
    lfm.loaded.adapters.load("a", adapter)
    for turn in range(1, 4):
        ask(lfm, chat_of(turn))
    for turn in range(1, 4):
        prompt = ask(lfm, chat_of(turn), adapter="a")
        places = starts(lfm, chat_of(turn))
        assert prompt.cached_tokens >= (places[2 * turn - 2] if turn > 1 else 0)
        assert turn > 1 or prompt.cached_tokens == 0

    edited = [*chat_of(3)[:3], question(70)]
    assert ask(lfm, edited, adapter="a").cached_tokens >= starts(lfm, edited)[3]
    held = len(lfm.loaded.cache.tree)
    del prompt  # it holds the adapter
    lfm.answers.clear()
    lfm.loaded.adapters.unload("a")
    tree = lfm.loaded.cache.tree
    assert len(tree) < held
    assert tree.nbytes == sum(entry.nbytes for entry in tree)
    assert ask(lfm, edited).cached_tokens >= starts(lfm, edited)[3]


def test_a_cancelled_prefill_leaves_the_messages_that_it_came_to(uncut: Direct) -> None:
    messages = chat_of(4)
    first = uncut.add(uncut.prepare_chat(messages, **OPTIONS))
    uncut.until(lambda: uncut.row(first).held > 0 and len(uncut.row(first).stops) < 5)
    reached = uncut.row(first).held
    uncut.cancel([first])

    assert ask(uncut, messages).cached_tokens >= reached
    edited = [*messages[:1], question(71)]
    assert ask(uncut, edited).cached_tokens >= starts(uncut, messages)[1]


def test_a_small_cache_keeps_the_last_messages_and_its_limit(uncut: Direct) -> None:
    ask(uncut, chat_of(1))
    tree = uncut.loaded.cache.tree
    tree.budget = tree.nbytes * 4 // 3
    reused = 0
    for turn in range(2, 7):
        reused += ask(uncut, chat_of(turn)).cached_tokens
        assert tree.nbytes <= tree.budget
        assert tree.nbytes == sum(entry.nbytes for entry in tree)

    assert reused > 100
    tree.budget = 0
    uncut.loaded.cache.shrink(0)
    prompt = uncut.prepare_chat(chat_of(3), **OPTIONS)
    uncut.add(prompt)
    uncut.step()
    assert not uncut.row(prompt).stops
    uncut.finish()


def test_a_prompt_that_parts_where_another_did_reuses_what_is_before(uncut: Direct) -> None:
    base = [20 + n % 50 for n in range(60)]
    for tail in ([5, 6, 7], [8, 9, 7]):
        uncut.run([uncut.prepare([*base, *tail], **OPTIONS)])

    third = uncut.prepare([*base, 10, 11, 12], **OPTIONS)
    plain = uncut.prepare([*base, 10, 11, 12], **OPTIONS, cache=False)
    (got,), (expected,) = uncut.run([third]), uncut.run([plain])

    assert third.cached_tokens == len(base)
    assert got.tokens == expected.tokens


def whole_keys(entry: Any) -> list[Any]:
    return [layer.keys for layer in lending.lent(entry.value)]


def test_entries_of_one_chat_hold_its_keys_and_values_once(lfm: Direct) -> None:
    ask(lfm, chat_of(6))
    tree = lfm.loaded.cache.tree
    entries = sorted(tree, key=lambda entry: len(entry.tokens))
    path = [
        entry for entry in entries if entry.tokens == entries[-1].tokens[: len(entry.tokens)]
    ]

    assert len(path) >= 11
    for entry in path[:-1]:
        assert all(
            own is longest
            for own, longest in zip(whole_keys(entry), whole_keys(path[-1]), strict=True)
        )
        assert entry.nbytes == lending.state_bytes(entry.value) < kv.nbytes(entry.value)
    assert path[-1].nbytes == kv.nbytes(path[-1].value)


def test_a_beginning_outlives_the_chat_that_it_borrows_from(lfm: Direct) -> None:
    messages = chat_of(6)
    ask(lfm, messages)
    cache = lfm.loaded.cache
    entries = sorted(cache.tree, key=lambda entry: len(entry.tokens))
    for entry in entries[3:]:
        cache.tree.touch(entry)
    for entry in entries[:3]:
        cache.tree.touch(entry)  # so that the longest are evicted first
    longest = entries[-1].value
    held = kv.nbytes(longest) - lending.state_bytes(longest)
    room = held // whole_keys(entries[-1])[0].shape[2] * len(entries[2].tokens)
    cache.shrink(room + sum(lending.state_bytes(entry.value) for entry in entries[:3]))

    left = sorted(cache.tree, key=lambda entry: len(entry.tokens))
    assert [len(entry.tokens) for entry in left] == [len(entry.tokens) for entry in entries[:3]]
    assert left[-1].nbytes == kv.nbytes(left[-1].value)
    assert whole_keys(left[-1])[0].shape[2] == len(left[-1].tokens)
    assert cache.tree.nbytes == sum(entry.nbytes for entry in left) <= cache.tree.budget
    prompt = ask(lfm, [*messages[:2], answer(70), question(71)])
    assert prompt.cached_tokens >= starts(lfm, messages)[2]


def test_a_model_whose_caches_can_be_cut_looks_for_no_messages(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = Direct(models("llama3"))
    monkeypatch.setattr(direct.engine._templates, "boundaries", lambda *_: pytest.fail("asked"))
    prompt = direct.prepare_chat(chat_of(3), **OPTIONS)
    direct.run([prompt])
    assert prompt.boundaries is None
    assert len(direct.loaded.cache.tree) == 1
    direct.close()


def entry_sizes(direct: Direct) -> list[int]:
    return sorted(len(entry.tokens) for entry in direct.loaded.cache.tree)


def test_an_answer_s_own_end_goes_once_its_message_has_one(uncut: Direct) -> None:
    for turn in range(1, 5):
        prompt = ask(uncut, chat_of(turn))
        ends = [min(place, len(prompt.ids) - 1) for place in prompt.boundaries or ()]
        # One for each message, or for what asked for the next one, and the last answer's own end.
        sizes = entry_sizes(uncut)
        assert len(sizes) == len(ends) + 1
        assert all(0 <= size - end < 8 for size, end in zip(sizes, ends, strict=False))
        assert sizes[-1] > len(prompt.ids)


def test_an_answer_that_comes_back_is_reused_and_replaced(lfm: Direct) -> None:
    first = lfm.add(lfm.prepare_chat(chat_of(1), max_tokens=8, ignore_eos=True))
    lfm.finish()
    known = [*first.ids, *lfm.answers[first].tokens]
    before = entry_sizes(lfm)

    second = lfm.prepare_chat(chat_of(2), **OPTIONS)
    second.ids = [
        *known,
        10,
        11,
        *range(20, 50),
    ]  # the answer's tokens, its message's end, and more
    second.boundaries = [*(first.boundaries or ())[:-1], len(known) + 2, len(second.ids)]
    lfm.run([second])

    assert second.cached_tokens == before[-1] >= len(known) - 1
    sizes = entry_sizes(lfm)
    assert before[-1] not in sizes
    assert set(before[:-1]) < set(sizes)
    assert len(known) + 2 in sizes


def test_another_chat_leaves_a_cancelled_prefill_as_it_is(lfm: Direct) -> None:
    ask(lfm, [SYSTEM, question(1)])
    lfm.runner._chunk.tokens = 16
    long = [SYSTEM, {"role": "user", "content": "A long text. " * 20}]
    first = lfm.add(lfm.prepare_chat(long, **OPTIONS))
    lfm.until(lambda: lfm.row(first).held >= 90)
    reached = lfm.row(first).held
    lfm.cancel([first])

    ask(lfm, [SYSTEM, question(2)])
    ask(lfm, [SYSTEM, question(2), answer(2), question(3)])

    assert ask(lfm, long).cached_tokens == reached < len(first.ids) - 2


def test_a_saved_cache_has_every_message_and_the_keys_once(
    uncut: Direct, tmp_path: Path
) -> None:
    messages = chat_of(5)
    ask(uncut, messages)
    ask(uncut, [*messages[:3], question(70)])
    engine, file = uncut.engine, str(tmp_path / "cache")
    tree = uncut.loaded.cache.tree
    held = {tuple(entry.tokens): entry.nbytes for entry in tree}
    assert engine.save_cache(file) == len(held)
    uncut.forget()
    tree.budget = sum(held.values()) + 1  # with no room for a second copy

    assert engine.load_cache(file) == len(held)

    assert {tuple(entry.tokens) for entry in tree} == held.keys()
    assert tree.nbytes == sum(entry.nbytes for entry in tree) <= sum(held.values())
    assert os.path.getsize(file) < sum(held.values()) + 4096 * len(held)
    tree.budget = 1 << 30
    for place in (1, 3, 7):
        prompt = ask(uncut, [*messages[:place], question(80 + place)])
        assert prompt.cached_tokens >= starts(uncut, messages)[place]


def test_a_file_whose_entries_borrow_wrongly_is_refused(lfm: Direct, tmp_path: Path) -> None:
    ask(lfm, chat_of(3))
    engine, file = lfm.engine, tmp_path / "cache"
    engine.save_cache(str(file))
    entries = len(lfm.loaded.cache.tree)
    for told in (
        f'{{"0": {entries}}}',
        '{"0": 0}',
        '{"0": 1, "1": 2}',
        '{"1": 0}',
        "[]",
        '{"x": 1}',
    ):
        arrays, metadata = read_sealed(file)
        metadata["lenders"] = told
        other = tmp_path / "other"
        with other.open("wb") as stream:
            sealed_file.write(stream, arrays, metadata)
        with pytest.raises(WireError, match="damaged"):
            engine.load_cache(str(other))
        assert len(lfm.loaded.cache.tree) == entries


def read_sealed(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with file.open("rb") as stream:
        reader = sealed_file.SealedReader(stream)
        metadata = {name: text for name, text in reader.metadata.items() if name != "digest"}
        return reader.read(lambda _: True), metadata
