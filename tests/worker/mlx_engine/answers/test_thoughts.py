"""Thoughts come on their channel, within their budget, and before the form of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factories.scripted import TURNS, write_scripted_model
from support.conversation import Message
from support.model_worker import Models, ModelWorker

SCRIPT = ["<think>", "\nhm, ", "let me", "\n\n", "</think>", "\n\nHello", ", you", " all!"]
USER = [{"role": "user", "content": "x"}]
OPENED = TURNS.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
SWITCHED = TURNS.replace(
    "{{ '<|im_start|>assistant\\n' }}",
    "{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n' }}{% endif %}",
)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scripted_model(tmp_path_factory.mktemp("thinker"), SCRIPT)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opened")
    return write_scripted_model(folder, SCRIPT[1:], template=OPENED, plain=["<think>"])


def answer(worker: ModelWorker, **options: Any) -> tuple[str, str, Message]:
    """Return the text and the thoughts of a chat, and its `done`."""
    request = worker.send("chat", messages=USER, **options)
    done = worker.final(request)
    tokens = [m for m in worker.messages[request] if m["type"] == "token"]
    assert [m["seq"] for m in worker.messages[request] if "seq" in m] == list(
        range(len(tokens))
    )
    assert all(m["token"] for m in tokens if m.get("flush"))
    assert sum(not m.get("flush") for m in tokens) == done.get("tokens_generated")
    text = "".join(m["token"] for m in tokens if "channel" not in m)
    thoughts = "".join(m["token"] for m in tokens if m.get("channel") == "thinking")
    return text, thoughts, done


def test_thoughts_come_on_their_channel_without_marks(
    worker: ModelWorker, thinker: Path
) -> None:
    worker.use(thinker)
    text, thoughts, done = answer(worker)

    assert (text, thoughts) == ("Hello, you all!", "hm, let me")
    assert done["metrics"]["thinking_tokens"] == 3
    assert done["tokens_generated"] == len(SCRIPT)


def test_the_opener_may_stand_in_the_prompt(worker: ModelWorker, opened: Path) -> None:
    worker.use(opened)
    text, thoughts, done = answer(worker)

    assert (text, thoughts) == ("Hello, you all!", "hm, let me")
    assert done["metrics"]["thinking_tokens"] == 3


def test_each_token_has_its_log_probability_whatever_its_channel(
    worker: ModelWorker, thinker: Path
) -> None:
    worker.use(thinker)
    request = worker.send("chat", messages=USER, logprobs=True, top_logprobs=2)
    worker.final(request)
    tokens = [m for m in worker.messages[request] if m["type"] == "token"]
    own = [m for m in tokens if not m.get("flush")]

    assert len(own) == len(SCRIPT)
    assert all(len(m["top_logprobs"]) == 2 and m["logprob"] <= 0 for m in own)
    assert [m["token"] for m in own if m.get("channel")] == ["hm,", " let me", ""]


def test_a_raw_prompt_has_no_channels(worker: ModelWorker, thinker: Path) -> None:
    worker.use(thinker)

    text, _ = worker.generate("x\n")
    assert text == "".join(SCRIPT)


def test_stop_strings_end_the_answer_and_no_thought(worker: ModelWorker, thinker: Path) -> None:
    worker.use(thinker)

    text, thoughts, done = answer(worker, stop=["let", "you"])
    assert (text, thoughts) == ("Hello, ", "hm, let me")
    assert done["finish_reason"] == "stop"


def test_a_thought_that_max_tokens_cuts_off_is_no_text(
    worker: ModelWorker, thinker: Path
) -> None:
    worker.use(thinker)

    text, thoughts, done = answer(worker, max_tokens=3)
    assert (text, thoughts, done["finish_reason"]) == ("", "hm, let me", "length")


@pytest.mark.parametrize(
    ("budget", "message", "thoughts"),
    [
        (0, "", ""),
        (1, "", "hm,"),
        (2, "", "hm, let me"),
        (2, " So", "hm, let me So"),
        (9, " So", "hm, let me"),
    ],
)
@pytest.mark.parametrize("where", ["answer", "prompt"])
def test_a_budget_ends_the_thought(
    worker: ModelWorker,
    thinker: Path,
    opened: Path,
    where: str,
    budget: int,
    message: str,
    thoughts: str,
) -> None:
    worker.use(thinker if where == "answer" else opened)
    text, thought, done = answer(worker, thinking={"budget": budget, "message": message})

    assert thought == (thoughts if budget or where == "answer" else message.strip())
    assert done["metrics"]["thinking_tokens"] <= budget + len(message)
    if budget or where == "prompt":
        assert text == "Hello, you all!"


def test_a_budget_of_zero_turns_a_switch_off(worker: ModelWorker, tmp_path: Path) -> None:
    worker.use(write_scripted_model(tmp_path, SCRIPT[5:], template=SWITCHED,
                                    plain=["<think>", "</think>"]))  # fmt: skip
    assert worker.ask("info")["capabilities"]["thinking"] is True

    assert answer(worker, thinking={"budget": 0})[:2] == ("\n\nHello, you all!", "")
    assert answer(worker, thinking=False)[:2] == ("\n\nHello, you all!", "")


@pytest.mark.parametrize("message", ["", " So."])
def test_a_budget_of_zero_holds_a_model_that_thinks_though_it_is_switched_off(
    worker: ModelWorker, tmp_path: Path, message: str
) -> None:
    worker.use(write_scripted_model(tmp_path / "m", SCRIPT, template=SWITCHED))
    text, thoughts, done = answer(worker, thinking={"budget": 0, "message": message})

    assert thoughts == ""
    assert "hm" not in text
    assert done["metrics"]["thinking_tokens"] == 0


@pytest.mark.parametrize("where", ["answer", "prompt"])
def test_a_form_begins_after_the_thought(
    worker: ModelWorker, thinker: Path, opened: Path, where: str
) -> None:
    worker.use(thinker if where == "answer" else opened)
    form = {"type": "regex", "regex": "[0-9]{3}"}
    text, thoughts, done = answer(worker, response_format=form)

    assert (len(text), text.isdigit(), thoughts) == (3, True, "hm, let me")
    assert done["complete"] is True


def test_a_form_begins_at_once_where_the_model_does_not_think(
    worker: ModelWorker, tmp_path: Path
) -> None:
    worker.use(write_scripted_model(tmp_path, ["Hello"], plain=["<think>", "</think>"]))
    form = {"type": "regex", "regex": "[0-9]{3}"}
    text, thoughts, done = answer(worker, response_format=form)

    assert (len(text), thoughts, done["complete"]) == (3, "", True)


def test_a_form_and_a_budget_hold_together(worker: ModelWorker, thinker: Path) -> None:
    worker.use(thinker)
    form = {"type": "json_object"}
    text, thoughts, _ = answer(
        worker, response_format=form, thinking={"budget": 1, "message": "!"}, max_tokens=9
    )

    assert thoughts == "hm, !"
    assert text.startswith("{")


def test_a_thought_that_is_cut_off_leaves_the_form_incomplete(
    worker: ModelWorker, thinker: Path
) -> None:
    worker.use(thinker)
    form = {"type": "regex", "regex": "[0-9]*"}
    _, _, done = answer(worker, response_format=form, max_tokens=2)

    assert (done["finish_reason"], done["complete"]) == ("length", False)


def test_a_budget_is_refused_where_no_thought_can_be_ended(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen2"))
    error = worker.refusal("chat", messages=USER, thinking={"budget": 5})

    assert error["code"] == "unsupported_capability"
    assert error["data"] == {"missing": ["thinking_budget"], "field": "thinking"}
    assert worker.ask("info")["capabilities"]["thinking_budget"] is False


@pytest.mark.parametrize(
    ("thinking", "field"),
    [
        ({"budget": -1}, "thinking.budget"),
        ({"budget": 1, "message": 5}, "thinking.message"),
        ({"message": "x"}, "thinking.budget"),
        ({"budget": 1, "x": 1}, "thinking.x"),
        ("high", "thinking"),
    ],
)
def test_a_wrong_budget_is_refused_by_its_field(
    worker: ModelWorker, thinker: Path, thinking: Any, field: str
) -> None:
    worker.use(thinker)
    error = worker.refusal("chat", messages=USER, thinking=thinking)

    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)


def test_neighbours_of_a_thinker_keep_their_text(worker: ModelWorker, thinker: Path) -> None:
    worker.use(thinker)
    requests = [
        worker.send("chat", messages=USER, thinking={"budget": n % 4}) for n in range(8)
    ] + [worker.send("chat", messages=USER, temperature=1.0, seed=n) for n in range(8)]
    for request in requests:
        worker.final(request)
    texts = [
        "".join(m["token"] for m in worker.messages[r] if m["type"] == "token")
        for r in requests[8:]
    ]

    assert set(texts) == {"hm, let meHello, you all!"}


def test_a_cancelled_thought_keeps_its_channel(worker: ModelWorker, thinker: Path) -> None:
    worker.use(thinker)
    request = worker.send("chat", messages=USER, window=3)
    worker.until(lambda message: message.get("seq") == 2, request)
    worker.ask("cancel", target=request)
    done = worker.final(request)
    tokens = [m for m in worker.messages[request] if m["type"] == "token"]

    assert done["finish_reason"] == "cancelled"
    assert done["metrics"]["thinking_tokens"] in (2, 3)  # one may wait for credit
    assert [(m["token"], m.get("channel")) for m in tokens if m["token"]] == [
        ("hm,", "thinking"),
        (" let me", "thinking"),
    ]
