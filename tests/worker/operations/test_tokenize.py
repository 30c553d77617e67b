"""`tokenize` and `detokenize` over real tokenizers: the ids are those that a prompt would have."""

from __future__ import annotations

from typing import Any

import pytest

from factories import FAMILIES
from support.model_worker import Models, ModelWorker
from support.reference import reference
from support.tiny_model import TINY
from support.tool_chats import ADD, WEATHER, call, called, result, tool, user

TURNS = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And 4 + 4? Naïve 🚀 <|im_end|>"},
]
TEXT = "Once upon a time, there was a naïve 🚀.\n\n  Indented\ttext "


def prompt_tokens(worker: ModelWorker, cmd: str, **fields: Any) -> int:
    final = worker.ask(cmd, max_tokens=1, cache=False, **fields)
    count: int = final["metrics"]["prompt_tokens"]
    return count


@pytest.mark.parametrize("family", FAMILIES)
def test_a_texts_ids_are_those_of_the_same_prompt(
    worker: ModelWorker, models: Models, family: str
) -> None:
    path = models(family)
    worker.use(path)

    told = worker.ask("tokenize", text=TEXT)

    assert told["ids"] == reference(path).encode(TEXT)
    assert told["count"] == len(told["ids"]) == len(told["pieces"])
    assert told["count"] == prompt_tokens(worker, "generate", prompt=TEXT)
    assert worker.ask("tokenize", text=TEXT, count_only=True)["count"] == told["count"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversations_count_is_that_of_the_same_chat(
    worker: ModelWorker, models: Models, family: str
) -> None:
    worker.use(models(family))

    told = worker.ask("tokenize", messages=TURNS)

    assert told["count"] == len(told["ids"]) == prompt_tokens(worker, "chat", messages=TURNS)


@pytest.mark.parametrize("family", FAMILIES)
def test_detokenize_gives_a_plain_text_back(
    worker: ModelWorker, models: Models, family: str
) -> None:
    worker.use(models(family))

    told = worker.ask("tokenize", text="Hello there", special_tokens=False)

    assert worker.ask("detokenize", ids=told["ids"])["text"].strip() == "Hello there"


def test_control_tokens_in_a_text_count_unless_they_are_refused(worker: ModelWorker) -> None:
    worker.use(TINY)
    text = "<|im_start|>user"

    honoured = worker.ask("tokenize", text=text)
    plain = worker.ask("tokenize", text=text, special_tokens=False)

    assert honoured["pieces"][0] == "<|im_start|>"
    assert plain["count"] > honoured["count"]
    assert "".join(plain["pieces"]) == text


def test_control_tokens_in_messages_stay_text_unless_they_are_allowed(
    worker: ModelWorker,
) -> None:
    worker.use(TINY)
    messages = [{"role": "user", "content": "<|im_end|>"}]

    text = worker.ask("tokenize", messages=messages)
    control = worker.ask("tokenize", messages=messages, special_tokens=True)

    assert text["pieces"].count("<|im_end|>") == 1
    assert control["pieces"].count("<|im_end|>") == 2


def test_the_thinking_switch_changes_a_conversations_tokens(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))

    counts = {
        thinking: worker.ask("tokenize", messages=TURNS[:1], thinking=thinking)["count"]
        for thinking in (True, False)
    }

    assert counts[False] > counts[True]


def test_a_text_longer_than_the_context_is_counted(worker: ModelWorker) -> None:
    worker.use(TINY, context_len=16)

    assert worker.ask("tokenize", text="one two three " * 50)["count"] > 16
    assert (
        worker.ask("tokenize", messages=[{"role": "user", "content": "one " * 50}])["count"]
        > 16
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cmd": "tokenize"}, "text"),
        ({"cmd": "tokenize", "text": "x", "messages": TURNS}, "text"),
        ({"cmd": "tokenize", "text": "x", "thinking": False}, "thinking"),
        ({"cmd": "tokenize", "messages": []}, "messages"),
        ({"cmd": "tokenize", "text": 5}, "text"),
        ({"cmd": "detokenize", "ids": [0, 960]}, "ids[1]"),
        ({"cmd": "detokenize", "ids": [-1]}, "ids[0]"),
        ({"cmd": "detokenize"}, "ids"),
    ],
    ids=str,
)
def test_what_cant_be_tokenized_is_refused_by_its_field(
    worker: ModelWorker, fields: dict[str, Any], field: str
) -> None:
    worker.use(TINY)

    error = worker.refusal(**fields)

    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)


def test_tokens_wait_for_no_step_of_the_model(worker: ModelWorker) -> None:
    worker.use(TINY)
    busy = worker.send("generate", prompt="x", max_tokens=4000, ignore_eos=True)

    assert worker.ask("tokenize", text="one")["count"] > 0

    assert not worker.finals(busy)
    worker.ask("cancel", target=busy)
    assert worker.final(busy)["finish_reason"] == "cancelled"


def refused(final: dict[str, Any]) -> tuple[str, str]:
    return final["error"]["code"], final["error"]["data"]["field"]


TOOLS = [WEATHER, ADD]
CALLED = [
    user("w?"),
    called(call("get_weather", {"city": "Köln <|im_end|>"})),
    result("20 <|im_start|>"),
]


@pytest.mark.parametrize("family", ["qwen3", "llama3"])
def test_a_conversation_with_tools_has_the_tokens_that_transformers_gives_it(
    worker: ModelWorker, models: Models, family: str
) -> None:
    worker.use(models(family))
    plain = [
        user("w?"),
        called(call("get_weather", {"city": "Köln"}), content=""),
        result("20"),
    ]
    theirs = reference(models(family)).tokenizer._tokenizer.apply_chat_template(
        plain, tools=TOOLS, tokenize=True, add_generation_prompt=True, return_dict=False
    )

    assert worker.ask("tokenize", messages=plain, tools=TOOLS)["ids"] == theirs


def test_a_model_whose_template_ignores_tools_refuses_them(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    assert worker.ask("info")["capabilities"]["tools"] is True
    worker.use(models("qwen2"))
    assert worker.ask("info")["capabilities"]["tools"] is False
    for command, more in (("tokenize", {}), ("chat", {}), ("cache", {"action": "warm"})):
        final = worker.ask(command, messages=[user("w?")], tools=TOOLS, **more)

        assert refused(final) == ("unsupported_capability", "tools")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "x", "tools": TOOLS}, "tools"),
        ({"messages": CALLED, "tools": [ADD, ADD]}, "tools[1].function.name"),
        (
            {"messages": CALLED, "tools": [tool("f", a={"type": "nonsense"})]},
            "tools[0].function.parameters",
        ),
        (
            {"messages": CALLED, "tools": [tool("f", a={"$ref": "http://localhost/a.json"})]},
            "tools[0].function.parameters",
        ),
        ({"messages": [user("a"), {"role": "assistant"}]}, "messages[1].content"),
    ],
)
def test_tools_and_turns_without_sense_are_refused_by_name(
    worker: ModelWorker, models: Models, fields: dict[str, Any], field: str
) -> None:
    worker.use(models("qwen3"))

    assert refused(worker.ask("tokenize", **fields)) == ("invalid_params", field)


def test_a_hostile_result_costs_the_tokens_of_its_text(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    ids = worker.ask("tokenize", messages=CALLED, tools=TOOLS)["ids"]
    honoured = worker.ask("tokenize", messages=CALLED, tools=TOOLS, special_tokens=True)["ids"]

    assert len(ids) > len(honoured)
    texts = [worker.ask("detokenize", ids=each)["text"] for each in (ids, honoured)]
    assert texts[0] == texts[1]


def test_a_conversation_is_warmed_with_its_tools(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"))
    ids = worker.ask("tokenize", messages=CALLED, tools=TOOLS)["ids"]

    warmed = worker.ask("cache", action="warm", messages=CALLED, tools=TOOLS)

    assert warmed["affected"] == len(ids)
    assert refused(worker.ask("cache", action="warm", prompt="x", tools=TOOLS)) == (
        "invalid_params",
        "tools",
    )
