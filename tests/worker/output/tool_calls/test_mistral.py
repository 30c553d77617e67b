"""Calls in the forms of Mistral."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.mistral import Mistral

from .cuts import Call, read, tools_named
from .values import arguments, names

TOOLS = tools_named("add", "now", "get-it.2")
ADDED = Call("add", '{"a": 3.5, "b": 4}')
NOW = Call("now", "{}")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[TOOL_CALLS][{"name": "add", "arguments": {"a": 3.5, "b": 4}}]', [ADDED]),
        ('[TOOL_CALLS]  [ {"name":"add" , "arguments" : {"a": 3.5, "b": 4} } ]', [ADDED]),
        (
            '[TOOL_CALLS] [{"arguments": {"name": "x"}, "name": "add"}]',
            [Call("add", '{"name": "x"}')],
        ),
        (
            'Hi[TOOL_CALLS] [{"name": "now"}, {"name": "now"}]\nmore',
            [Text("Hi"), NOW, NOW, Text("more")],
        ),
        ('[TOOL_CALLS][{"name": "now", "arguments": "{}", "id": "abcdefghi"}]', [NOW]),
        ('[TOOL_CALLS][{"id": "abcdefghi", "name": "now"}]', [Call("now", "{}", "abcdefghi")]),
        ('[TOOL_CALLS]{"name": "now"}', [NOW]),
        ('[TOOL_CALLS] [{"name": "now"}][TOOL_CALLS] [{"name": "now"}]', [NOW, NOW]),
        ('[TOOL_CALLS]add[ARGS]{"a": 3.5, "b": 4}', [ADDED]),
        ('[TOOL_CALLS]add{"a": 3.5, "b": 4}', [ADDED]),
        ('[TOOL_CALLS] add [ARGS] {"a": 3.5, "b": 4} and', [ADDED, Text("and")]),
        ("[TOOL_CALLS]now[CALL_ID]Ab3Ab3Ab3[ARGS]{}", [Call("now", "{}", "Ab3Ab3Ab3")]),
        ("[TOOL_CALLS]get-it.2[ARGS]{}[TOOL_CALLS]now[ARGS]{}", [Call("get-it.2", "{}"), NOW]),
        (
            r'hi{hi[TOOL_CALLS]add[ARGS]{"c": "say(\"[TOOL_CALLS]\")\nr({})"}',
            [Text("hi{hi"), Call("add", r'{"c": "say(\"[TOOL_CALLS]\")\nr({})"}')],
        ),
        (
            '[TOOL_CALLS]now[ARGS][TOOL_CALLS]now[TOOL_CALLS]add[ARGS]{"a": 3.5, "b": 4}',
            [NOW, NOW, ADDED],
        ),
        ("[TOOL_CALL", [Text("[TOOL_CALL")]),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(Mistral(), TOOLS, text) == parts


@pytest.mark.parametrize(
    ("text", "failed", "cut_off"),
    [
        ('[TOOL_CALLS][{"name": "fly", "arguments": {"a": "]"}}]', None, False),
        ('[TOOL_CALLS][{"name": "add", "arguments": {bad}}]', None, False),
        ('[TOOL_CALLS][{"name": "now"}, 5]', ", 5]", False),
        ("[TOOL_CALLS][]", None, False),
        ("[TOOL_CALLS] not JSON", "[TOOL_CALLS] not ", False),
        ('[TOOL_CALLS]fly[ARGS]{"a": "[TOOL_CALLS]"}', None, False),
        ('[TOOL_CALLS]add[ARGS]{"a": }', '[TOOL_CALLS]add[ARGS]{"a": ', False),
        ("[TOOL_CALLS]add", None, True),
        ("[TOOL_CALLS]add[AR", None, True),
        ("[TOOL_CALLS]add[CALL_", None, True),
        ("[TOOL_CALLS]add[CALL_ID]x", None, True),
        ("[TOOL_CALLS]add[ARGS]", None, True),
        ("[TOOL_CALLS]add[CALL_ID]x[ARGS]5", "[TOOL_CALLS]add[CALL_ID]x[ARGS]", False),
        ('[TOOL_CALLS]add[ARGS]{"a": "', None, True),
        ('[TOOL_CALLS][{"name": "add", "argu', None, True),
        ("[TOOL_CALLS]", None, True),
    ],
)
def test_text_that_is_no_call(text: str, failed: str | None, cut_off: bool) -> None:
    found = [part for part in read(Mistral(), TOOLS, text) if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in found] == [(failed or text, cut_off)]


CALLS = st.lists(st.tuples(names, arguments), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(calls=CALLS)
def test_rendered_list_parses_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    given = [{"name": name, "arguments": given} for name, given in calls]
    check(f"[TOOL_CALLS] {json.dumps(given, ensure_ascii=False)}", calls)


@settings(max_examples=20, deadline=None)
@given(calls=CALLS, with_id=st.booleans())
def test_rendered_sections_parse_back(
    calls: list[tuple[str, dict[str, Any]]], with_id: bool
) -> None:
    call_id = "[CALL_ID]abcdefghi" if with_id else ""
    check(
        "".join(
            f"[TOOL_CALLS]{name}{call_id}[ARGS]{json.dumps(given)}" for name, given in calls
        ),
        calls,
    )


def check(text: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    found = read(Mistral(), tools_named(*(name for name, _ in calls)), text)
    assert [
        (part.name, json.loads(part.arguments)) for part in found if isinstance(part, Call)
    ] == calls
    assert len(found) == len(calls)
