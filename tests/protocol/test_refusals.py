"""The error for a request that does not fit its type: the value, and what is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.codec import convert_command

WORDS = [
    ({"temperature": -1}, "`temperature` of `generate` is -1; give a number of at least 0"),
    ({"temperature": "hot"}, "`temperature` of `generate` is a string; give a number"),
    ({"top_logprobs": 65}, "`top_logprobs` of `generate` is 65; give an integer of at most 64"),
    ({"prompt": None}, "`prompt` of `generate` is null; give a string"),
    ({"prompt": ""}, "`prompt` of `generate` is empty; give at least 1 character"),
    ({"ignore_eos": 1}, "`ignore_eos` of `generate` is 1; give true or false"),
    ({"stop": 3}, "`stop` of `generate` is 3; give a string or an array"),
    (
        {"response_format": {"type": "json_object", "whitespace": "x"}},
        '`response_format.whitespace` of `generate` is \'x\'; give one of "compact", "flexible"',
    ),
    ({"stop": ["a", 3]}, "`stop[1]` of `generate` is 3; give a string"),
    (
        {"stop": ["a"] * 65},
        "`stop` of `generate` has 65 elements; give at most 64 elements",
    ),
    (
        {"logit_bias": {"cat": 1}},
        "`logit_bias` of `generate` has a name that is not a token id in digits; "
        'give names such as "17"',
    ),
    (
        {"temprature": 1},
        "`generate` has no field `temprature`; correct the name, or leave it out",
    ),
]


@pytest.mark.parametrize(("fields", "words"), WORDS, ids=[words[:40] for _, words in WORDS])
def test_a_refusal_says_the_value_and_what_is_accepted(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "generate", "prompt": "p", **fields})
    assert caught.value.message == words


@pytest.mark.parametrize("command", ["load", "fit"])
def test_a_refusal_names_the_numbers_beside_the_listed_texts(command: str) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": command, "path": "p", "context_len": 0})
    assert caught.value.message == (
        f'`context_len` of `{command}` is 0; give an integer of at least 1 or "auto"'
    )


@pytest.mark.parametrize("value", ["max", 0, 1.5, True, []])
def test_a_refusal_names_the_numbers_beside_a_listed_word(value: Any) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "load", "path": "p", "context_len": value})
    assert caught.value.message.endswith('give an integer of at least 1 or "auto"')


FUNCTION = {"name": "add", "parameters": {"type": "object"}}
CALL = {"name": "add", "arguments": {}}
CHAT_WORDS = [
    (
        {"tools": [FUNCTION]},
        "`chat` has no field `tools[0].name`; put `name` into `tools[0].function`",
    ),
    (
        {"tools": [{"type": "function", "function": {**FUNCTION, "name": "a b"}}]},
        "`tools[0].function.name` of `chat` is 'a b'; give 1 to 128 letters, digits, `_`, `-` and `.`",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": ""}}]},
        "`tools[0].function.name` of `chat` is ''; give 1 to 128 letters, digits, `_`, `-` and `.`",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "a", "params": {}}}]},
        "`chat` has no field `tools[0].function.params`; correct the name, or leave it out",
    ),
    (
        {"tools": [{"type": "tool", "function": FUNCTION}]},
        "`tools[0].type` of `chat` is 'tool'; give \"function\"",
    ),
    ({"functions": [FUNCTION]}, "`chat` has no field `functions`; give `tools` in its place"),
    (
        {"function_call": "auto"},
        "`chat` has no field `function_call`; give `tool_choice` in its place",
    ),
    (
        {"messages": [{"role": "assistant", "content": "", "function_call": CALL}]},
        "`chat` has no field `messages[0].function_call`; give `tool_calls` in its place",
    ),
    (
        {"reasoning_effort": "low"},
        "`chat` has no field `reasoning_effort`; give `thinking` in its place",
    ),
    (
        {"messages": [{"role": "tool", "content": None}]},
        "`messages[0].content` of `chat` is null; give it a value",
    ),
    ({"messages": [{"role": "user"}]}, "`chat` needs the field `messages[0].content`; add it"),
    (
        {"tool_choice": "not a name"},
        "`tool_choice` of `chat` is 'not a name'; give 1 to 128 letters, digits, `_`, `-` and `.`",
    ),
    (
        {"tool_choice": {"name": "add"}},
        "`chat` has no field `tool_choice.name`; put `name` into `tool_choice.function`",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        "`chat` has no field `messages[0].tool_calls[0].name`; put `name` into "
        "`messages[0].tool_calls[0].function`",
    ),
    (
        {"response_format": {"type": "json"}},
        "`response_format.type` of `chat` is 'json'; give one of "
        '"text", "json_object", "json_schema", "regex", "grammar"',
    ),
    (
        {"response_format": {"type": "json_schema", "schema": {}}},
        "`chat` has no field `response_format.schema`; put `schema` into "
        "`response_format.json_schema`",
    ),
    (
        {"response_format": {"type": "grammar", "grammar": "x", "syntax": "ebnf"}},
        '`response_format.syntax` of `chat` is \'ebnf\'; give one of "gbnf", "lark"',
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "text": "x"}]}]},
        "`messages[0].content[0].type` of `chat` is 'image'; give \"text\"",
    ),
]


@pytest.mark.parametrize(
    ("fields", "words"), CHAT_WORDS, ids=[words[:60] for _, words in CHAT_WORDS]
)
def test_a_refusal_of_a_nested_field_says_what_belongs_there(
    fields: dict[str, Any], words: str
) -> None:
    turns = [{"role": "user", "content": "x"}]
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "chat", "messages": turns, **fields})
    assert caught.value.message == words


def test_a_text_of_the_wrong_kind_is_not_quoted() -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "batch", "prompts": "a secret prompt"})
    assert "secret" not in caught.value.message
