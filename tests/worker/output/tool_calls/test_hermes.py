"""Calls in the form of Hermes and Qwen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.marked import CallForm, MarkedChannels
from mlxwire_worker.output.pieces import CallArguments, CallBegan, CallEnded, CallFailed, Text
from mlxwire_worker.output.tool_calls.hermes import Hermes

from .cuts import Call, pieces_at_every_cut, read, split, tools_named
from .values import arguments, names

TOOLS = tools_named("look", "now", "get_weather")


def whole(name: str, given: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {given}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(whole("look", '{"at": "x"}'), [Call("look", '{"at": "x"}')], id="one"),
        pytest.param(
            f"Let me see.\n{whole('now', '{}')}",
            [Text("Let me see."), Call("now", "{}")],
            id="text before",
        ),
        pytest.param(
            f"{whole('now', '{}')}\nDone.", [Call("now", "{}"), Text("Done.")], id="text after"
        ),
        pytest.param(
            f"{whole('now', '{}')}\n{whole('look', '{}')}",
            [Call("now", "{}"), Call("look", "{}")],
            id="two",
        ),
        pytest.param(
            f"{whole('now', '{}')} and {whole('look', '{}')} too",
            [Call("now", "{}"), Text("and"), Call("look", "{}"), Text("too")],
            id="text between",
        ),
        pytest.param(
            '<tool_call>[{"name": "now", "arguments": {}}, {"name": "look", "arguments": {"a": 1}}]'
            "</tool_call>",
            [Call("now", "{}"), Call("look", '{"a": 1}')],
            id="list",
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": {}}', [Call("now", "{}")], id="no end mark"
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": {}}\n<tool_call>{"name": "look", "arguments": {}}',
            [Call("now", "{}"), Call("look", "{}")],
            id="no end marks",
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": {}}}\n</tool_call>',
            [Call("now", "{}")],
            id="one brace too many",
        ),
        pytest.param(
            '<tool_call>\n{"name": "now", "arguments": {}}\n{"name": "look"}\n</tool_call>',
            [Call("now", "{}"), Call("look", "{}")],
            id="all in one section",
        ),
        pytest.param(
            '<tool_call>{"name": "now"}, {"name": "look"} ; {"name": "now"}</tool_call>',
            [Call("now", "{}"), Call("look", "{}"), Call("now", "{}")],
            id="in one section with commas",
        ),
        pytest.param(
            '<tool_call>{"name": "look", "parameters": {"a": [1]}}</tool_call>',
            [Call("look", '{"a": [1]}')],
            id="parameters",
        ),
        pytest.param(
            '<tool_call>{"arguments": {"name": "now"}, "name": "look"}</tool_call>',
            [Call("look", '{"name": "now"}')],
            id="arguments first",
        ),
        pytest.param(
            '<tool_call>{"type": "function", "function": {"name": "look", "arguments": {"a": 1}}}'
            "</tool_call>",
            [Call("look", '{"a": 1}')],
            id="OpenAI's shape",
        ),
        pytest.param(
            '<tool_call>{"id": "call-7", "name": "now", "more": [{"x": "}"}], "arguments": {}}</tool_call>',
            [Call("now", "{}", "call-7")],
            id="other members",
        ),
        pytest.param(
            r'<tool_call>{"name": "look", "arguments": "{\"a\": \"b\\nc\"}"}</tool_call>',
            [Call("look", r'{"a": "b\nc"}')],
            id="arguments as a string",
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": ""}</tool_call>',
            [Call("now", "{}")],
            id="empty string",
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": null}</tool_call>',
            [Call("now", "{}")],
            id="null",
        ),
        pytest.param(
            '<tool_call>{"name": "now"}</tool_call>', [Call("now", "{}")], id="missing"
        ),
        pytest.param(
            '\n <tool_call>\t\r\n {\n "name" :\t"look" , \n"arguments"\n:\n{ "a"\t: 1 }\n}\n\n </tool_call> \n',
            [Call("look", '{ "a"\t: 1 }')],
            id="white space everywhere",
        ),
        pytest.param(
            whole(
                "look",
                r'{"a": "</tool_call> {[\" \\ \u00e9 é 🦜", "b": {"c": [{}, [], -1.5e3, null]}}',
            ),
            [
                Call(
                    "look",
                    r'{"a": "</tool_call> {[\" \\ \u00e9 é 🦜", "b": {"c": [{}, [], -1.5e3, null]}}',
                )
            ],
            id="marks, braces and escapes",
        ),
        pytest.param(
            whole("look", '{"a": "one\ntwo\t\x01"}'),
            [Call("look", r'{"a": "one\ntwo\t\u0001"}')],
            id="raw control characters",
        ),
        pytest.param("No calls <tool", [Text("No calls <tool")], id="half a mark"),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(Hermes(), TOOLS, text) == parts
    for part in parts:
        if isinstance(part, Call):
            assert isinstance(json.loads(part.arguments), dict)


CALL = '{"name": "look", "arguments": {"a": 1}}'
LOOKED = Call("look", '{"a": 1}')


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (CALL, [LOOKED]),
        (f" \n{CALL}\n{CALL}", [LOOKED, LOOKED]),
        (f"{CALL} so", [LOOKED, Text("so")]),
        (f"```json\n  {CALL}\n```", [LOOKED]),
        (f"```\n{CALL}\n``` \nso", [LOOKED, Text("so")]),
        (f"```xml\n<response>\n  {CALL}\n</response>\n```", [LOOKED]),
        (f"```json\n\n <function_call> {CALL} \n </function_call> \n``` ", [LOOKED]),
        (f"<tools>\n {CALL}\n</tools>", [LOOKED]),
        (f"<JSON>{CALL}</JSON>\n<JSON>{CALL}</JSON>", [LOOKED, LOOKED]),
        ('<function=look>{"a": 1}</function>\n<function=now>{}', [LOOKED, Call("now", "{}")]),
        ('<function name="look">\n{"a": 1}\n</function>', [LOOKED]),
        (f"So: {CALL}", [Text(f"So: {CALL}")]),
        (f"{CALL}\n{whole('now', '{}')}", [LOOKED, Call("now", "{}")]),
    ],
)
def test_other_beginnings_of_answers(text: str, parts: list[Any]) -> None:
    assert read(Hermes(), TOOLS, text) == parts


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ann", "age": 5}',
        '{"name": "fly", "arguments": {}}',
        '{"answer": [1, 2]}',
        '```json\n{"a": 1}\n```',
        "```python\nprint()\n```",
        "```",
        "{",
        "<xml>\n<a/>\n</xml>",
        "<function=fly>{}</function>",
        "<response>Yes</response>",
    ],
)
def test_other_answers_are_text(text: str) -> None:
    assert read(Hermes(), TOOLS, text) == [Text(text)]


def test_arguments_are_streamed() -> None:
    channels = MarkedChannels(None, CallForm(Hermes(), TOOLS))
    assert channels.add('<tool_call>\n{"name": "look"') == [CallBegan("look")]
    assert channels.add(', "arguments": {"at": "a') == [CallArguments('{"at": "a')]
    assert channels.add(' b"') == [CallArguments(' b"')]
    assert channels.add("}}\n</tool") == [CallArguments("}"), CallEnded()]
    assert channels.add("_call> bye") == [Text("bye")]


@pytest.mark.parametrize(
    ("text", "failed", "parts"),
    [
        pytest.param(whole("fly", '{"a": "</tool_call>"}'), None, [], id="unknown tool"),
        pytest.param(
            f"{whole('fly', '{}')} so", whole("fly", "{}"), [Text(" so")], id="and text"
        ),
        pytest.param(
            f"{whole('fly', '{}')}\n{whole('now', '{}')}",
            whole("fly", "{}"),
            [Call("now", "{}")],
            id="and a call",
        ),
        pytest.param(whole("look", '{"a": }'), None, [], id="no value"),
        pytest.param(whole("look", '{"a": 1'), None, [], id="no closing brace"),
        pytest.param(whole("look", "[1]"), None, [], id="a list"),
        pytest.param(whole("look", '"text"'), None, [], id="a text"),
        pytest.param(whole("look", "5"), None, [], id="a number"),
        pytest.param(whole("look", '{"a": NaN}'), None, [], id="NaN"),
        pytest.param(whole("look", '{"a": 01}'), None, [], id="01"),
        pytest.param(whole("look", '{"a": 1e999}'), None, [], id="1e999"),
        pytest.param(whole("look", r'{"a": "\d"}'), None, [], id="unknown escape"),
        pytest.param(whole("look", r'{"a": "\ud800"}'), None, [], id="half a surrogate pair"),
        pytest.param(whole("look", '{"a": 1,}'), None, [], id="comma at the end"),
        pytest.param(whole("look", "{'a': 1}"), None, [], id="single quotes"),
        pytest.param('<tool_call>{"arguments": {}}</tool_call>', None, [], id="no name"),
        pytest.param(
            '<tool_call>{"name": "look", "a": 1}</tool_call>', None, [], id="no arguments"
        ),
        pytest.param('<tool_call>{"name": 5}</tool_call>', None, [], id="name is a number"),
        pytest.param("<tool_call>{}</tool_call>", None, [], id="empty"),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": {}, "parameters": {}}</tool_call>',
            None,
            [],
            id="arguments twice",
        ),
        pytest.param(
            '<tool_call>{bad\n<tool_call>{"name": "now"}</tool_call>',
            "<tool_call>{bad\n",
            [Call("now", "{}")],
            id="no end before the next",
        ),
        pytest.param(
            "The mark <tool_call> opens a call.",
            "<tool_call> ",
            [Text("opens a call.")],
            id="prose",
        ),
    ],
)
def test_text_that_is_no_call(text: str, failed: str | None, parts: list[Any]) -> None:
    found = read(Hermes(), TOOLS, text)
    failures = [part for part in found if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in failures] == [(failed or text, False)]
    assert [
        part for part in found if part not in failures and part != Text("The mark")
    ] == parts


def test_text_keeps_the_space_before_what_is_no_call() -> None:
    _, failed, _ = read(Hermes(), TOOLS, "The mark \n<tool_call> opens a call.")
    assert isinstance(failed, CallFailed)
    assert (failed.space_before, failed.text) == (" \n", "<tool_call> ")


@pytest.mark.parametrize(
    "size", range(len("<tool_call>"), len(whole("look", '{"a": "b"}')) - 13)
)
def test_call_that_is_cut_off(size: int) -> None:
    text = whole("look", '{"a": "b"}')[:size]
    [failed] = read(Hermes(), TOOLS, text)
    assert isinstance(failed, CallFailed)
    assert (failed.text, failed.cut_off) == (text, True)


def test_second_call_that_fails_leaves_the_first() -> None:
    text = '<tool_call>[{"name": "now"}, {"name": "fly"}]</tool_call>'
    first, failed = read(Hermes(), TOOLS, text)
    assert first == Call("now", "{}")
    assert isinstance(failed, CallFailed)
    assert failed.text == ', {"name": "fly"}]</tool_call>'


def test_deep_nesting_is_no_call() -> None:
    text = whole("look", '{"a": ' + "[" * 3000 + "]" * 3000 + "}")
    channels = MarkedChannels(None, CallForm(Hermes(), TOOLS))
    [*_, failed] = split(channels, [text])
    assert isinstance(failed, CallFailed)
    assert failed.text == text


def test_reasons_name_what_is_wrong() -> None:
    [failed] = read(Hermes(), TOOLS, whole("fly", "{}"))
    assert failed == CallFailed(
        "the model called `fly`, which is not in `tools`", whole("fly", "{}")
    )
    *_, failed = pieces_at_every_cut(Hermes(), TOOLS, whole("look", '{"a": <}'))
    assert isinstance(failed, CallFailed)
    assert failed.reason == "`<` stands in the JSON where a value must"


@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(st.tuples(names, arguments), min_size=1, max_size=3),
    indent=st.none() | st.just(2),
)
def test_rendered_calls_parse_back(
    calls: list[tuple[str, dict[str, Any]]], indent: int | None
) -> None:
    text = "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': given}, indent=indent)}\n</tool_call>"
        for name, given in calls
    )
    found = read(Hermes(), tools_named(*(name for name, _ in calls)), text)
    assert [
        (part.name, json.loads(part.arguments)) for part in found if isinstance(part, Call)
    ] == calls
    assert len(found) == len(calls)
