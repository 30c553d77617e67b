"""The channels of gpt-oss."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from mlxwire_worker.output import harmony
from mlxwire_worker.output.harmony import Harmony
from mlxwire_worker.output.pieces import (
    CallArguments,
    CallBegan,
    CallEnded,
    CallFailed,
    Text,
    Thought,
)
from mlxwire_worker.output.tool_calls.family import Mark, Tool, Tools

from .tool_calls.cuts import Call, parts_of, split, split_at_every_cut, tools_named
from .tool_calls.values import arguments, names
from .tool_calls.walks import Kind, accepts, random_answers

TOOLS = tools_named("look", "now", "a.b")
THOUGHT = "<|channel|>analysis<|message|>Let me think.<|end|>"
NEXT = "<|start|>assistant"
LOOKED = Call("look", '{"a": "x"}')
MARKS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>")


def read(text: str, tools: Tools = TOOLS, opened: str = "") -> list[Any]:
    return parts_of(split_at_every_cut(lambda: Harmony(tools, opened=opened), text))


def call(name: str, given: str, head: str = " <|constrain|>json") -> str:
    return f"<|channel|>commentary to=functions.{name}{head}<|message|>{given}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<|channel|>final<|message|>Hello there.", [Text("Hello there.")]),
        ("<|channel|>final<|message|>Hello <b>.<|return|>", [Text("Hello <b>.")]),
        (
            f"{THOUGHT}{NEXT}<|channel|>final<|message|>4\n\n5\n<|return|>",
            [Thought("Let me think."), Text("4\n\n5")],
        ),
        ("<|channel|>analysis<|message|>Let", [Thought("Let")]),
        ("<|channel|>commentary<|message|>I look.<|end|>", [Text("I look.")]),
        (
            f"{THOUGHT}{NEXT}{call('look', LOOKED.arguments)}",
            [Thought("Let me think."), LOOKED],
        ),
        (f"{call('look', LOOKED.arguments)}<|call|>", [LOOKED]),
        (f"{call('look', LOOKED.arguments)}<|end|>", [LOOKED]),
        (f"{call('look', LOOKED.arguments, '')}<|call|>", [LOOKED]),
        (f"{call('look', LOOKED.arguments, ' json')}<|call|>", [LOOKED]),
        (f"{call('a.b', '{}')}<|call|>", [Call("a.b", "{}")]),
        (f"{call('now', ' ')}<|call|>", [Call("now", "{}")]),
        (
            ' to=functions.look<|channel|>commentary <|constrain|>json<|message|> {"a": "x"} \n<|call|>',
            [LOOKED],
        ),
        (
            f'{THOUGHT}{NEXT} to=functions.look<|channel|>analysis<|message|>{{"a": "x"}}<|call|>',
            [Thought("Let me think."), LOOKED],
        ),
        (
            f"{call('look', LOOKED.arguments)}<|call|>{NEXT}{call('now', '{}')}<|call|>{NEXT}"
            "<|channel|>final<|message|>So.",
            [LOOKED, Call("now", "{}"), Text("So.")],
        ),
        (
            f"<|channel|>commentary<|message|>I look.<|end|>{NEXT}{call('look', LOOKED.arguments)}",
            [Text("I look."), LOOKED],
        ),
        (
            call("look", r'{"a": "<|call|> <|end|> } \" \u00e9 é", "b": {"c": [{}]}}'),
            [Call("look", r'{"a": "<|call|> <|end|> } \" \u00e9 é", "b": {"c": [{}]}}')],
        ),
        (f"{THOUGHT}\n{NEXT}<|channel|>final<|message|>", [Thought("Let me think.")]),
        (
            "<|channel|>analysis<|message|>a<|channel|>final<|message|>b",
            [Thought("a"), Text("b")],
        ),
        ("<|channel|>final to=user<|message|>b", [Text("b")]),
        ("<|channel|>final<|end|>", []),
        ("<|channel|>fin", []),
        ("Hello <|x|>", [Text("Hello <|x|>")]),
        ("<|message|>Hello", [Text("Hello")]),
        ("<|channel|>final<|message|>a \n", [Text("a \n")]),
        ("<|channel|>final<|message|>a <|e", [Text("a <|e")]),
        (f"{call('now', '{}')} and<|call|>", [Call("now", "{}"), Text("and")]),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(text) == parts


def test_prompt_may_open_the_header() -> None:
    assert read("a<|end|>", opened="<|channel|>analysis<|message|>") == [Thought("a")]
    assert Harmony(TOOLS, opened="<|channel|>analysis<|message|>").thinking


def test_pieces_come_as_soon_as_they_are_certain() -> None:
    channels = Harmony(TOOLS)
    assert channels.add("<|channel|>analysis<|message|>") == []
    assert channels.thinking
    assert channels.add("One ") == [Thought("One")]
    assert channels.add("two") == [Thought(" two")]
    assert channels.add("<|end|>") == []
    assert not channels.thinking
    assert channels.add("<|start|>assistant<|channel|>commentary to=functions.look") == []
    assert channels.add('<|message|>{"a"') == [CallBegan("look"), CallArguments('{"a"')]
    assert channels.add(": 1}") == [CallArguments(": 1}"), CallEnded()]
    assert channels.finish() == []


@pytest.mark.parametrize(
    ("text", "failed", "cut_off", "others"),
    [
        (f"{call('fly', LOOKED.arguments)}<|call|>", None, False, []),
        (call("fly", '{"a": "<|call|>"}'), None, False, []),
        (f"{call('look', 'text')}<|call|>", None, False, []),
        (f"{call('look', '[1]')}<|call|>", None, False, []),
        (
            f"{call('look', '{bad}')}<|call|>{NEXT}{call('now', '{}')}",
            f"{call('look', '{bad}')}<|call|>",
            False,
            [Call("now", "{}")],
        ),
        ("<|channel|>analysis to=python code<|message|>print(1)<|call|>", None, False, []),
        (call("look", '{"a": '), None, True, []),
        (call("look", ""), None, True, []),
        ("<|channel|>commentary to=functions.lo", None, True, []),
    ],
)
def test_text_that_is_no_call(
    text: str, failed: str | None, cut_off: bool, others: list[Any]
) -> None:
    found = read(text)
    failures = [part for part in found if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in failures] == [(failed or text, cut_off)]
    assert [part for part in found if part not in failures] == others


def test_header_without_an_end_is_text() -> None:
    text = "<|channel|>" + "x" * 600
    assert read(text) == [Text(text)]


@settings(max_examples=15, deadline=None)
@given(name=names, given=arguments)
def test_rendered_call_parses_back(name: str, given: dict[str, Any]) -> None:
    [found] = read(call(name, json.dumps(given, ensure_ascii=False)), tools_named(name))
    assert isinstance(found, Call)
    assert (found.name, json.loads(found.arguments)) == (name, given)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
STRICT = Tools([Tool(name="look", parameters=SCHEMA), Tool(name="now", parameters={})])


def grammar(mark: Mark) -> str:
    return harmony.grammar(STRICT, mark)


@pytest.mark.parametrize("kind", ["special", "plain", "text"])
def test_grammar_accepts_what_the_model_writes(kind: Kind) -> None:
    one = call("look", '{"a": 1}')
    assert accepts(grammar, MARKS, kind, one)
    assert accepts(grammar, MARKS, kind, f"{THOUGHT}{NEXT}{one}")
    assert not accepts(grammar, MARKS, kind, THOUGHT)
    assert not accepts(grammar, MARKS, kind, call("look", "{}"))
    assert not accepts(grammar, MARKS, kind, call("fly", "{}"))
    assert not accepts(grammar, MARKS, kind, "<|channel|>final<|message|>Hello")


@pytest.mark.parametrize("kind", ["special", "plain"])
def test_random_answers_are_calls(kind: Kind) -> None:
    for text in random_answers(grammar, MARKS, kind):
        parts = parts_of(split(Harmony(STRICT), [text]))
        calls = [part for part in parts if not isinstance(part, Thought)]
        assert len(calls) == 1
        assert isinstance(calls[0], Call)
