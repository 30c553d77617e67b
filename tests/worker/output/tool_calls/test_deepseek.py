"""Calls in the forms of DeepSeek R1, V3 and V3.1."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.deepseek import DeepSeek

from .cuts import Call, read, tools_named
from .values import arguments, names

TOOLS = tools_named("look", "now", "function")
BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"


def fenced(name: str, given: str) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{given}\n```<｜tool▁call▁end｜>"


def bare(name: str, given: str) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{given}<｜tool▁call▁end｜>"


GIVEN = '{"a": "x"}'
MARKED = r'{"a": "``` \" {\n<｜tool▁call▁end｜>"}'
LOOKED = Call("look", GIVEN)
NOW = Call("now", "{}")


@pytest.mark.parametrize("form", [fenced, bare])
@pytest.mark.parametrize("begin", [BEGIN, "<｜tool▁calls｜>", "<｜tool_calls_begin｜>", ""])
def test_two_calls_between_texts(form: Any, begin: str) -> None:
    text = f"I look.\n\n{begin}{form('look', GIVEN)}\n{form('now', '{}')}{END}\nSo."
    assert read(DeepSeek(), TOOLS, text) == [Text("I look."), LOOKED, NOW, Text("So.")]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{BEGIN}{fenced('look', MARKED)}{END}", [Call("look", MARKED)]),
        (f"{BEGIN}{bare('function', '{}')}{END}", [Call("function", "{}")]),
        (f"{BEGIN} \n{bare(' now ', ' {} ')}\n {END}", [NOW]),
        (f"{BEGIN}{fenced('now', '{}').replace('json', '')}{END}", [NOW]),
        (
            f"{BEGIN}function<｜tool▁sep｜>now\n```json\n{{}}\n```<｜tool▁call▁end｜>{END}",
            [NOW],
        ),
        (f"{BEGIN}{fenced('now', '{}')}", [NOW]),
        (f"{BEGIN}{bare('now', '')}{bare('look', GIVEN)}{END}", [NOW, LOOKED]),
        (f"{BEGIN}{fenced('now', '')}{END}", [NOW]),
        (
            f"{BEGIN}<｜tool▁call▁begin｜>function<｜tool▁sep｜>now<｜tool▁call▁end｜>{END}",
            [NOW],
        ),
        (f"{BEGIN}{fenced('now', '{}').removesuffix('<｜tool▁call▁end｜>')}", [NOW]),
        (
            f"{BEGIN}<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n{{}}<｜tool▁call▁end｜>{END}",
            [NOW],
        ),
        ("<｜tool", [Text("<｜tool")]),
        (f"{BEGIN}\n{END}", []),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(DeepSeek(), TOOLS, text) == parts


BAD = fenced("look", '{"a": 1')


@pytest.mark.parametrize(
    ("text", "failed", "cut_off", "calls"),
    [
        (f"{BEGIN}{fenced('fly', MARKED)}{END}", None, False, []),
        (f"{BEGIN}{bare('fly', '{}')}{END}", None, False, []),
        (f"{BEGIN}{fenced('look', '[1]')}{END}", None, False, []),
        (f"{BEGIN}{BAD}{bare('now', '{}')}{END}", f"{BEGIN}{BAD}", False, [NOW]),
        (f"{BEGIN}{fenced('now', '{}')}{BAD}\n{END}", f"{BAD}\n{END}", False, [NOW]),
        (f"{BEGIN}<｜tool▁call▁begin｜>func", None, True, []),
        (f"{BEGIN}{fenced('look', '{}')[:40]}", None, True, []),
        (BEGIN, None, True, []),
    ],
)
def test_text_that_is_no_call(
    text: str, failed: str | None, cut_off: bool, calls: list[Call]
) -> None:
    found = read(DeepSeek(), TOOLS, text)
    assert [part for part in found if isinstance(part, Call)] == calls
    failures = [part for part in found if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in failures] == [(failed or text, cut_off)]


@settings(max_examples=20, deadline=None)
@given(
    calls=st.lists(st.tuples(names, arguments), min_size=1, max_size=2),
    form=st.sampled_from([fenced, bare]),
)
def test_rendered_calls_parse_back(calls: list[tuple[str, dict[str, Any]]], form: Any) -> None:
    text = BEGIN + "".join(form(name, json.dumps(given)) for name, given in calls) + END
    found = read(DeepSeek(), tools_named(*(name for name, _ in calls)), text)
    assert [
        (part.name, json.loads(part.arguments)) for part in found if isinstance(part, Call)
    ] == calls
    assert len(found) == len(calls)
