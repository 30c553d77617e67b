"""Calls in the form of Kimi K2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.kimi import Kimi

from .cuts import Call, read, tools_named
from .values import arguments, names

TOOLS = tools_named("look", "now", "a.b-c")


def one(call_id: str, given: str, space: str = "") -> str:
    return (
        f"<|tool_call_begin|>{call_id}{space}<|tool_call_argument_begin|>{space}{given}"
        f"{space}<|tool_call_end|>"
    )


def section(*calls: str) -> str:
    return f"<|tool_calls_section_begin|>{''.join(calls)}<|tool_calls_section_end|>"


LOOK = one("functions.look:0", '{"city": "京都"}')
LOOKED = Call("look", '{"city": "京都"}', "functions.look:0")
NOW = one("functions.now:1", "{}")
THEN = Call("now", "{}", "functions.now:1")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (section(LOOK), [LOOKED]),
        (f"I look. {section(LOOK, NOW)} Then.", [Text("I look."), LOOKED, THEN, Text("Then.")]),
        (section(one("look:0", "{}")), [Call("look", "{}", "look:0")]),
        (section(one("functions.a.b-c:12", "{}")), [Call("a.b-c", "{}", "functions.a.b-c:12")]),
        (section(" ", one("functions.now:1", "{}", " \n"), "\n"), [THEN]),
        (
            section(one("functions.look:0", '{\n "a": "<|tool_call_end|>"\n}')),
            [Call("look", '{\n "a": "<|tool_call_end|>"\n}', "functions.look:0")],
        ),
        ("<|tool_call_section_begin|>" + NOW + "<|tool_call_section_end|>", [THEN]),
        (LOOK + NOW + "so", [LOOKED, THEN, Text("so")]),
        ("<|tool_calls_section_begin|>" + LOOK, [LOOKED]),
        ("<|tool_calls_section_begin|>" + NOW.removesuffix("<|tool_call_end|>"), [THEN]),
        (section(LOOK) + section(NOW), [LOOKED, THEN]),
        (f"a {section()} b", [Text("ab")]),
        (section(one("functions.now:1", "", " ")), [THEN]),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(Kimi(), TOOLS, text) == parts


@pytest.mark.parametrize("size", [230, 255, 256, 257, 300])
def test_the_limit_of_an_id_is_the_same_at_every_cut(size: int) -> None:
    padded = "functions.look:0".ljust(size)
    found = read(Kimi(), TOOLS, section(one(padded, '{"city": "京都"}')))
    assert (found == [LOOKED]) is (size <= 256)


def test_number_alone_names_the_only_tool() -> None:
    assert read(Kimi(), tools_named("now"), section(one("0", "{}"))) == [Call("now", "{}", "0")]


BAD = one("functions.look:0", '{"a": 1')


@pytest.mark.parametrize(
    ("text", "failed", "cut_off", "calls"),
    [
        (section(one("functions.fly:0", '{"a": "<|tool_call_end|>"}')), None, False, []),
        (section(one("0", "{}")), None, False, []),
        (section(one("functions.look.0", "{}")), None, False, []),
        (section(one("functions.look:0", "5")), None, False, []),
        (section(BAD, NOW), f"<|tool_calls_section_begin|>{BAD}", False, [THEN]),
        (section(NOW, BAD), f"{BAD}<|tool_calls_section_end|>", False, [THEN]),
        ("<|tool_calls_section_begin|> none", "<|tool_calls_section_begin|> ", False, []),
        ("<|tool_calls_section_begin|><|tool_", None, True, []),
        ("<|tool_calls_section_begin|><|tool_call_begin|>functions.lo", None, True, []),
        (section(LOOK)[:-60], None, True, []),
    ],
)
def test_text_that_is_no_call(
    text: str, failed: str | None, cut_off: bool, calls: list[Call]
) -> None:
    found = read(Kimi(), TOOLS, text)
    assert [part for part in found if isinstance(part, Call)] == calls
    failures = [part for part in found if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in failures] == [(failed or text, cut_off)]


@settings(max_examples=20, deadline=None)
@given(calls=st.lists(st.tuples(names, arguments), min_size=1, max_size=2))
def test_rendered_calls_parse_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    text = section(
        *(
            one(f"functions.{name}:{at}", json.dumps(given))
            for at, (name, given) in enumerate(calls)
        )
    )
    found = read(Kimi(), tools_named(*(name for name, _ in calls)), text)
    assert [
        (part.name, json.loads(part.arguments)) for part in found if isinstance(part, Call)
    ] == calls
    assert len(found) == len(calls)
