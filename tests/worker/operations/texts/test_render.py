"""`render` gives the prompt of a chat, divided among its messages without a gap."""

from __future__ import annotations

from typing import Any

import pytest

from factories import FAMILIES
from support.model_worker import Models, ModelWorker
from support.tiny_model import TINY
from support.tool_chats import ADD, WEATHER, call, called, result, user

TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "It is 5, naïvely 🚀."},
    {"role": "user", "content": "And 4 + 4? <|im_end|> <end_of_turn> </s>"},
    {"role": "assistant", "content": "Eight.", "reasoning_content": "A sum."},
    {"role": "user", "content": "Thanks, ünd bye!"},
]


def parts_of(worker: ModelWorker, told: dict[str, Any]) -> list[str]:
    """Return the text of each message's tokens, and at last of those that ask for an answer."""
    starts = [message["start"] for message in told["messages"]]
    ends = [*starts[1:], told["answer_start"]]
    assert [message["index"] for message in told["messages"]] == list(range(len(starts)))
    assert [message["count"] for message in told["messages"]] == [
        end - start for start, end in zip(starts, ends, strict=True)
    ]
    assert starts[:1] == [0]
    pairs = zip([*starts, told["answer_start"]], [*ends, told["count"]], strict=True)
    spans = [told["ids"][start:end] for start, end in pairs]
    assert [token for span in spans for token in span] == told["ids"]
    return [worker.ask("detokenize", ids=span)["text"] if span else "" for span in spans]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_message_has_the_tokens_of_its_text(
    worker: ModelWorker, models: Models, family: str
) -> None:
    worker.use(models(family))

    told = worker.ask("render", messages=TURNS)
    parts = parts_of(worker, told)

    tokens = worker.ask("tokenize", messages=TURNS)
    assert told["ids"] == tokens["ids"]
    assert told["count"] == len(told["ids"])
    chat = worker.ask("chat", messages=TURNS, max_tokens=1, cache=False)
    assert chat["metrics"]["prompt_tokens"] == told["count"]
    whole = worker.ask("detokenize", ids=told["ids"])["text"]
    assert whole.strip() == told["prompt"].strip()
    for place, turn in enumerate(TURNS):
        assert [turn["content"] in part for part in parts] == [
            number == place for number in range(len(parts))
        ], (family, place, parts)


def test_control_tokens_in_messages_do_not_move_the_messages(worker: ModelWorker) -> None:
    worker.use(TINY)
    messages = [
        user("<|im_end|>" * 3 + " is it?"),
        {"role": "assistant", "content": "No <|im_start|>"},
    ]
    messages += [user("why")]

    for special in (False, True):
        told = worker.ask("render", messages=messages, special_tokens=special)
        parts = parts_of(worker, told)
        assert parts[1] == "<|im_start|>assistant\nNo <|im_start|><|im_end|>\n", special
        assert parts[2] == "<|im_start|>user\nwhy<|im_end|>\n"


def test_tools_count_to_the_message_in_which_the_template_writes_them(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    messages = [
        user("How is it?"),
        called(call("get_weather", {"city": "Rome"}), call("add", {"a": 1}, "abcdefgh2")),
        result("20 degrees"),
        result("one", "abcdefgh2"),
        user("And then?"),
    ]

    told = worker.ask("render", messages=messages, tools=[WEATHER, ADD])
    without = worker.ask("render", messages=messages, tools=[WEATHER, ADD], tool_choice="none")
    parts = parts_of(worker, told)

    assert "get_weather" in parts[0]
    assert "Rome" in parts[1]
    assert ["20 degrees" in part for part in parts].index(True) == 2
    assert ["one" in part and "tool_response" in part for part in parts][3]
    assert "And then?" in parts[4]
    assert "<tools>" in told["prompt"]
    assert "<tools>" not in without["prompt"]
    assert without["messages"][0]["count"] < told["messages"][0]["count"]


def test_the_switch_for_thinking_is_part_of_what_asks(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    asking = {
        thinking: parts_of(worker, worker.ask("render", messages=TURNS, thinking=thinking))[-1]
        for thinking in (True, False)
    }
    assert asking[True] == "<|im_start|>assistant\n"
    assert "</think>" in asking[False]


def test_what_no_chat_can_have_is_refused_as_there(worker: ModelWorker, models: Models) -> None:
    worker.use(models("gemma3"))
    error = worker.ask("render", messages=[TURNS[0], TURNS[0]])["error"]
    assert (error["code"], error["data"]["field"]) == ("invalid_params", "messages")
    error = worker.ask("render", messages=TURNS, thinking=True)["error"]
    assert error["code"] == "unsupported_capability" or error["data"]["field"] == "thinking"
    error = worker.ask("render", messages=TURNS, tools=[ADD])["error"]
    assert error["data"]["missing"] == ["tools"]
