"""A thought begins and ends where its text says so, in whatever tokens a model writes the marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from factories.scripted import TURNS, write_scripted_model
from support.conversation import Message
from support.model_worker import ModelWorker

USER = [{"role": "user", "content": "x"}]
OPENED = TURNS.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
HARMONY = "{# <|channel|>analysis #}" + TURNS
MARKS = ("<think>", "</think>")
CHANNELS = ("<|start|>", "<|end|>", "<|return|>", "<|message|>", "<|channel|>")
FINAL = "assistant<|channel|>final<|message|>"
SAID = ("Hello", ", you", " all!")
FORM = {"type": "regex", "regex": "[0-9]{3}"}


class Case(NamedTuple):
    """A script, and the thought in it: its text, and its number of tokens."""

    script: tuple[str, ...]
    thought: str = "hm, let me see"
    tokens: int = 3
    template: str = TURNS
    special: tuple[str, ...] = MARKS
    plain: tuple[str, ...] = ()


HM = ("hm,", " let me", " see")
ANALYSIS = ("<|channel|>", "analysis", "<|message|>")
CASES = {
    "tokens": Case(("<think>", *HM, "</think>", *SAID)),
    "in the prompt": Case((*HM, "</think>", *SAID), template=OPENED),
    "spelled close": Case(("<think>", *HM, "</", "think", ">", *SAID)),
    "spelled close in the prompt's": Case((*HM, "</", "th", "ink>", *SAID), template=OPENED),
    "bytes": Case(("<think>", *HM, *"</think>", *SAID)),
    "spelled open": Case(("<", "thi", "nk>", *HM, "</think>", *SAID)),
    "all spelled": Case(("<t", "hink>", *HM, "</th", "ink", ">", *SAID)),
    "close in a longer token": Case(("<think>", *HM, "</think>\n\n", *SAID)),
    "close with its space": Case(("<think>", *HM, "\n</", "think>\n\n", *SAID), tokens=4),
    "close at a token's end": Case(("<think>", *HM[:2], " see</think>", *SAID)),
    "no thought": Case(SAID, thought="", tokens=0),
    "gemma": Case(
        ("<|channel>", "thought", "\n\n", *HM, "<channel|>", *SAID),
        tokens=4, special=("<|channel>", "<channel|>"),
    ),
    "harmony": Case(
        (*ANALYSIS, *HM, "<|end|>", "<|start|>", FINAL, *SAID),
        template=HARMONY, special=CHANNELS,
    ),
    "harmony, spelled end": Case(
        (*ANALYSIS, *HM, "<|", "end", "|>", "<|start|>", FINAL, *SAID),
        template=HARMONY, special=CHANNELS,
    ),
    "harmony, no thought": Case(
        ("<|channel|>", "final", "<|message|>", *SAID), thought="", tokens=0,
        template=HARMONY, special=CHANNELS,
    ),
}  # fmt: skip
Use = Callable[[str], Case]


@pytest.fixture
def use(worker: ModelWorker, tmp_path_factory: pytest.TempPathFactory) -> Use:
    def load(name: str) -> Case:
        case = CASES[name]
        if name not in _WRITTEN:
            special = [mark for mark in case.special if mark not in case.script]
            after = {mark: SAID[0] for mark in ("</think>", "<|message|>") if mark in special}
            after |= {">": SAID[0]} if ">" not in case.script else {}
            _WRITTEN[name] = write_scripted_model(
                tmp_path_factory.mktemp("spelled"), case.script, template=case.template,
                special=special, plain=case.plain, after=after,
            )  # fmt: skip
        worker.use(_WRITTEN[name])
        return case

    return load


_WRITTEN: dict[str, Path] = {}


def ended(worker: ModelWorker, request: str) -> tuple[str, str, Message]:
    done = worker.final(request)
    tokens = [m for m in worker.messages[request] if m["type"] == "token"]
    assert done["type"] == "done", done
    assert sum(not m.get("flush") for m in tokens) == done["tokens_generated"]
    text = "".join(m["token"] for m in tokens if "channel" not in m)
    thoughts = "".join(m["token"] for m in tokens if m.get("channel") == "thinking")
    return text, thoughts, done


def answer(worker: ModelWorker, **options: Any) -> tuple[str, str, Message]:
    return ended(worker, worker.send("chat", messages=USER, **options))


def thinking(done: Message) -> int:
    tokens: int = done["metrics"]["thinking_tokens"]
    return tokens


@pytest.mark.parametrize("name", CASES)
def test_a_thought_is_told_from_the_answer(worker: ModelWorker, use: Use, name: str) -> None:
    case = use(name)
    text, thoughts, done = answer(worker)

    assert (text, thoughts, thinking(done)) == ("".join(SAID), case.thought, case.tokens)


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("name", CASES)
def test_a_budget_closes_a_thought_once(
    worker: ModelWorker, use: Use, name: str, budget: int
) -> None:
    case = use(name)
    text, thoughts, done = answer(worker, thinking={"budget": budget})

    assert thinking(done) == min(budget, case.tokens)
    assert case.thought.startswith(thoughts)
    if budget >= case.tokens:
        assert thoughts == case.thought
    assert text == "".join(SAID)
    assert not set("<>") & set(text + thoughts)


@pytest.mark.parametrize("budget", [None, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("name", CASES)
def test_a_form_begins_behind_the_thought(
    worker: ModelWorker, use: Use, name: str, budget: int | None
) -> None:
    case = use(name)
    asked: dict[str, Any] = {} if budget is None else {"thinking": {"budget": budget}}
    text, thoughts, done = answer(worker, response_format=FORM, max_tokens=40, **asked)

    assert (len(text), text.isdigit(), done["complete"]) == (3, True, True)
    if "open" in name or name == "all spelled":
        assert thoughts == ""  # the form leaves no token that could spell the mark
        return
    assert case.thought.startswith(thoughts)
    assert thinking(done) == (case.tokens if budget is None else min(budget, case.tokens))


@pytest.mark.parametrize("budget", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("name", ["all spelled", "spelled open"])
def test_a_form_that_has_the_mark_lets_a_spelled_one_open_a_thought(
    worker: ModelWorker, use: Use, name: str, budget: int | None
) -> None:
    use(name)
    asked: dict[str, Any] = {} if budget is None else {"thinking": {"budget": budget}}
    form = {"type": "regex", "regex": "[<>thinkHello, yual!]+"}
    text, thoughts, done = answer(worker, response_format=form, max_tokens=20, **asked)

    assert "hm, let me see".startswith(thoughts)
    assert thinking(done) == min(budget or 3, 3)
    assert not set("<>") & set(text + thoughts)


@pytest.mark.parametrize("budget", [None, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_thought_that_max_tokens_cut_is_counted(
    worker: ModelWorker, use: Use, name: str, budget: int | None
) -> None:
    case = use(name)
    asked: dict[str, Any] = {} if budget is None else {"thinking": {"budget": budget}}
    for limit in range(1, len(case.script)):
        text, thoughts, done = answer(worker, max_tokens=limit, **asked)
        tokens = [
            message
            for message in worker.messages[done["id"]]
            if message.get("channel") and not message.get("flush")
        ]

        assert len(tokens) >= thinking(done) >= bool(thoughts)
        assert "".join(SAID).startswith(text) or "<think>".startswith(text)
        assert not thoughts or thoughts.startswith(case.thought[: len(thoughts)])
        if budget is None:
            assert (done["finish_reason"], done["tokens_generated"]) == ("length", limit)


def test_rows_of_all_kinds_run_beside_each_other(worker: ModelWorker, use: Use) -> None:
    for name in ("bytes", "harmony"):
        case = use(name)
        options: list[dict[str, Any]] = [
            {"thinking": {"budget": 3}},
            {"thinking": {"budget": 9}, "response_format": FORM},
            {},
            {"thinking": {"budget": 0}},
            {"response_format": FORM},
            {"thinking": {"budget": 4, "message": " So"}},
            {"max_tokens": 3},
            {"thinking": {"budget": 3}, "response_format": FORM},
        ]
        requests = [worker.send("chat", messages=USER, **each) for each in options]
        told = [ended(worker, request) for request in requests]

        assert [text if place in (0, 2, 5) else text.isdigit() for place, (text, _, _) in
                enumerate(told) if place not in (3, 6)] == [
                    "".join(SAID), True, "".join(SAID), True, "".join(SAID), True]  # fmt: skip
        assert [thinking(done) for _, _, done in told if done["finish_reason"] != "length"][:3] == [
            3, case.tokens, case.tokens]  # fmt: skip
        assert all(case.thought.startswith(thoughts) for _, thoughts, _ in told)


PREAMBLE = "assistant<|channel|>commentary<|message|>"


@pytest.mark.parametrize("budget", [None, *range(1, 12)])
def test_a_preamble_is_no_part_of_a_text_that_has_a_form(
    worker: ModelWorker, tmp_path: Path, budget: int | None
) -> None:
    script = (*ANALYSIS, *HM, "<|end|>", "<|start|>", PREAMBLE, "I look.")
    worker.use(write_scripted_model(
        tmp_path, script, template=HARMONY, plain=[FINAL],
        special=[token for token in CHANNELS if token not in script], after={FINAL: "I look."},
    ))  # fmt: skip
    asked: dict[str, Any] = {} if budget is None else {"thinking": {"budget": budget}}
    assert answer(worker, **asked)[0] == "I look."
    text, thoughts, done = answer(worker, response_format=FORM, **asked)

    assert (len(text), text.isdigit(), done["complete"]) == (3, True, True)
    assert "hm, let me see".startswith(thoughts)
    assert thinking(done) == min(budget or 3, 3)


def test_a_form_of_gpt_oss_may_have_the_text_of_a_mark(
    worker: ModelWorker, tmp_path: Path
) -> None:
    script = ("<|channel|>", "final", "<|message|>", "a <|e", "nd|> b")
    worker.use(write_scripted_model(
        tmp_path, script, template=HARMONY,
        special=[token for token in CHANNELS if token not in script],
    ))  # fmt: skip
    form = {"type": "regex", "regex": "[a-z<>| ]+"}

    assert answer(worker, response_format=form)[0] == "a <|end|> b"


@pytest.mark.parametrize("name", ["tokens", "harmony"])
def test_a_message_that_would_end_the_thought_itself_is_refused(
    worker: ModelWorker, use: Use, name: str
) -> None:
    use(name)
    mark = "<|end|>" if name == "harmony" else "</think>"
    error = worker.refusal(
        "chat", messages=USER, thinking={"budget": 1, "message": f" So.{mark}\n"}
    )

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "thinking.message")
    assert answer(worker, thinking={"budget": 1, "message": " So.<"})[1] == "hm, So.<"
