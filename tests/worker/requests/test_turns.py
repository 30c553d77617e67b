"""Turns of a conversation are converted for templates, and nonsense is refused by its name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.chat.turns import Message
from mlxwire_worker.requests.turns import plain_turns

USER = {"role": "user", "content": "x"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return plain_turns(msgspec.convert(list(messages), list[Message]))


def call(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"function": {"name": "f", **function}}]}


def deep(levels: int) -> dict[str, Any]:
    return {"a": deep(levels - 1)} if levels else {}


def test_a_plain_turn_has_its_role_and_content_alone() -> None:
    assert turns(USER, {"role": "assistant", "content": ""}) == [
        USER,
        {"role": "assistant", "content": ""},
    ]


def test_parts_are_joined_without_a_separator() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert turns({"role": "user", "content": parts}) == [{"role": "user", "content": "ab"}]
    assert turns({"role": "user", "content": []}) == [{"role": "user", "content": ""}]


def test_a_turn_has_only_the_keys_that_were_set() -> None:
    given = {"reasoning_content": "hm", "name": "me", "tool_calls": [{**CALL, "index": 0}]}

    assert turns({"role": "assistant", **given}, call()) == [
        {
            "role": "assistant",
            "content": "",
            "name": "me",
            "reasoning_content": "hm",
            "tool_calls": [CALL],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
        },
    ]


@pytest.mark.parametrize("given", [{"tool_call_id": "c1"}, {}])
def test_a_result_has_the_id_and_the_name_of_the_call_that_it_answers(
    given: dict[str, Any],
) -> None:
    result = {"role": "tool", "content": "2", **given}

    assert turns(CALLED, result)[1] == {
        "role": "tool",
        "content": "2",
        "tool_call_id": "c1",
        "name": "f",
    }
    assert turns(CALLED, {**result, "name": "own"})[1]["name"] == "own"


def test_results_without_ids_answer_the_calls_in_their_order() -> None:
    second = {**CALL, "id": "c2", "function": {"name": "g"}}
    calls = {"role": "assistant", "tool_calls": [CALL, second]}
    result = {"role": "tool", "content": "2"}

    answered = turns(calls, result, result, result)

    assert [turn.get("tool_call_id") for turn in answered[1:]] == ["c1", "c2", None]
    assert [turn.get("name") for turn in answered[1:]] == ["f", "g", None]


def test_a_result_whose_call_was_cut_off_the_conversation_is_accepted() -> None:
    result = {"role": "tool", "content": "2", "tool_call_id": "gone"}

    assert turns(result, CALLED)[0] == result


@pytest.mark.parametrize("text", ["", " ", "{}", '{"a": {"b": [1, null]}}'])
def test_arguments_may_be_text(text: str) -> None:
    (turn,) = turns(call(arguments=text))

    assert turn["tool_calls"][0]["function"]["arguments"] == text


ARGUMENTS = "tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{**USER, "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{**USER, "role": "tool", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{**USER, "reasoning_content": "hm"}], "messages[0].reasoning_content"),
        ([{**USER, "tool_call_id": "c1"}], "messages[0].tool_call_id"),
        (
            [CALLED, {"role": "tool", "content": "2", "tool_call_id": "c2"}],
            "messages[1].tool_call_id",
        ),
        ([USER, call(arguments="{")], f"messages[1].{ARGUMENTS}"),
        ([call(arguments="[1]")], f"messages[0].{ARGUMENTS}"),
        ([call(arguments="5")], f"messages[0].{ARGUMENTS}"),
        ([call(arguments='{"a": NaN}')], f"messages[0].{ARGUMENTS}"),
        ([call(arguments='{"a": 1e999}')], f"messages[0].{ARGUMENTS}"),
        ([call(arguments='{"a": "\\ud800"}')], f"messages[0].{ARGUMENTS}"),
        ([call(arguments='{"a":' * 5000)], f"messages[0].{ARGUMENTS}"),
        ([call(arguments=deep(100))], f"messages[0].{ARGUMENTS}"),
    ],
)
def test_nonsense_is_refused_by_its_name(messages: list[dict[str, Any]], field: str) -> None:
    with pytest.raises(WireError) as refused:
        turns(*messages)

    assert refused.value.code == "invalid_params"
    assert refused.value.data["field"] == field
    assert field.rpartition("]")[0] in refused.value.message


def test_arguments_may_be_nested_a_hundred_levels_deep() -> None:
    assert turns(call(arguments=deep(99)))
