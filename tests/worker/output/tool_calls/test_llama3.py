"""Calls in the forms of Llama 3 and 4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.marked import CallForm, MarkedChannels
from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.llama3 import Llama3

from .cuts import Call, read, tools_named
from .values import arguments, names

TOOLS = tools_named("look", "now", "get_weather", "brave_search")
LOOK = '{"name": "look", "parameters": {"q": "a"}}'
LOOKED = Call("look", '{"q": "a"}')
NOW = Call("now", "{}")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(LOOK, [LOOKED], id="one"),
        pytest.param(f"\n {LOOK}", [LOOKED], id="space before"),
        pytest.param(f"<|python_tag|>{LOOK}", [LOOKED], id="tag"),
        pytest.param(f"So: <|python_tag|>{LOOK}", [Text("So:"), LOOKED], id="tag behind text"),
        pytest.param(f"<|python_start|>{LOOK}<|python_end|>", [LOOKED], id="Llama 4's tags"),
        pytest.param('{"name": "look", "arguments": {"q": "a"}}', [LOOKED], id="arguments"),
        pytest.param('{"type": "function", "name": "now", "parameters": {}}', [NOW], id="type"),
        pytest.param(
            '{"type": "function", "function": "now", "parameters": {}}', [NOW], id="function"
        ),
        pytest.param('{"name": "now", "parameters": null}', [NOW], id="null"),
        pytest.param('{"name": "now"}', [NOW], id="missing"),
        pytest.param(
            '{\n  "name": "now",\n  "parameters": {\n  }\n}',
            [Call("now", "{\n  }")],
            id="lines",
        ),
        *(
            pytest.param(
                f'{LOOK}{between}{{"name": "now"}}', [LOOKED, NOW], id=f"two {between!r}"
            )
            for between in ("", ";", "; ", " ; ", ";\n", "\n", ",", ", ")
        ),
        pytest.param(f'[{LOOK}, {{"name": "now"}}]', [LOOKED, NOW], id="list"),
        pytest.param(f'[ \n{LOOK} ,{{"name": "now"}}\n]', [LOOKED, NOW], id="list with spaces"),
        pytest.param(
            f"{LOOK}; Shall I go on?", [LOOKED, Text("Shall I go on?")], id="text after"
        ),
        pytest.param(
            f"{LOOK} I used {{look}}.", [LOOKED, Text("I used {look}.")], id="braces after"
        ),
        pytest.param(
            f'{LOOK} {{"q": "a"}}', [LOOKED, Text('{"q": "a"}')], id="another object after"
        ),
        pytest.param(
            f"I look:\n{LOOK}; {LOOK} Is that right?",
            [Text("I look:"), LOOKED, LOOKED, Text("Is that right?")],
            id="between texts",
        ),
        pytest.param(
            "I do [now()] and\n[look(q='a')]",
            [Text("I do"), NOW, Text("and"), LOOKED],
            id="python between texts",
        ),
        pytest.param(
            f"I call:\n```json\n{LOOK}\n```\nSo.",
            [Text("I call:"), LOOKED, Text("So.")],
            id="fence",
        ),
        pytest.param("```\n[now()]\n```", [NOW], id="python in a fence"),
        *(
            pytest.param(text, [Text(text)], id=f"text: {text}")
            for text in (
                'Say {"name": "fly", "parameters": {}} to fly.',
                '\n {"answer": 42}',
                'Use [fly(a=1)] or f[i] = {x: [1, 2]} in {"type": "object"}',
                "- [ ] open\n- [x] done [see](there)",
                'A list [{"name": "fly"}] of',
                'It begins with {"name": "lo',
                "It begins with [look",
                'So:\n```json\n{"in": "Bern"}\n```\n```python\nnow()\n```\n ``',
                'Cut {"type": "func',
            )
        ),
        pytest.param(
            '{"answer": 42, "name": "now"}', [Text('{"answer": 42, "name": "now"}')], id="JSON"
        ),
        *(
            pytest.param(text, [Text(text)], id=f"another object: {text}")
            for text in (
                '{"name": "Ann", "age": 5}',
                '{"name": "Ann"}',
                '[{"name": "Ann", "tags": ["a"]}, {"name": "Bob"}]',
                '{"name": "Ann", "par',
            )
        ),
        pytest.param("{x | x > 0}", [Text("{x | x > 0}")], id="a set"),
        pytest.param("{", [Text("{")], id="brace"),
        pytest.param("[", [Text("[")], id="bracket"),
        pytest.param("[1] See there.", [Text("[1] See there.")], id="footnote"),
        pytest.param("[]", [Text("[]")], id="empty list"),
        pytest.param("[Verse one]\nLa", [Text("[Verse one]\nLa")], id="song"),
        pytest.param("[1, 2]", [Text("[1, 2]")], id="numbers"),
        pytest.param('["a"]', [Text('["a"]')], id="texts"),
        pytest.param('[{"a": 1}]', [Text('[{"a": 1}]')], id="list of JSON"),
        pytest.param("[now()]", [NOW], id="python"),
        pytest.param("[now(), look(q='a')]", [NOW, LOOKED], id="python, two"),
        pytest.param(
            "<|python_start|>[look(q='a')]<|python_end|>",
            [LOOKED],
            id="python in Llama 4's tags",
        ),
        pytest.param(
            "[ look( a = 'it\\'s (' , b=\"]\\\"\",c={'d': [1, -2.5, None, True, false, null]}, e=() )\n] so",
            [
                Call(
                    "look",
                    '{"a": "it\'s (", "b": "]\\"", "c": {"d": [1, -2.5, null, true, false, null]}, "e": []}',
                ),
                Text("so"),
            ],
            id="python values",
        ),
        pytest.param(
            '<|python_tag|>brave_search.call(query="é")',
            [Call("brave_search", '{"query": "é"}')],
            id="built-in tool",
        ),
        pytest.param(
            r"[look(a='\d\n')]", [Call("look", r'{"a": "\\d\n"}')], id="unknown escape"
        ),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(Llama3(), TOOLS, text) == parts


@pytest.mark.parametrize(
    ("text", "failed", "cut_off"),
    [
        ('{"name": "fly", "parameters": {}}', '{"name": "fly", "parameters"', False),
        ('{"parameters": {}, "name": "fly"}', '{"parameters": {}, "name": "fly"', False),
        ('{"name": "look", "parameters": {bad}}', '{"name": "look", "parameters": {', False),
        ('{"parameters": {}}', None, False),
        ('<|python_tag|>{"answer": 42}', None, False),
        ("<|python_tag|>print(1)", None, False),
        ("<|python_tag|>1 + 1", "<|python_tag|>1", False),
        ("[fly(a=1)]", "[fly(a=1)", False),
        ("[look('a')]", "[look('a')", False),
        ("[look(**{})]", "[look(**{})", False),
        ("[look(a=b'x')]", "[look(a=b'x')", False),
        ("[look(a=open('x'))]", "[look(a=open('x'))", False),
        ("[look(a=1e999)]", "[look(a=1e999)", False),
        ("[look(a=])]", "[look(a=]", False),
        (r"[look(a='\ud800')]", r"[look(a='\ud800')", False),
        ('{"name": "look", "parameters": {"q', None, True),
        ('{"name": "lo', None, True),
        ("[look(a='", None, True),
        ("<|python_tag|>", None, True),
        ("<|python_tag|>look", None, True),
    ],
)
def test_text_that_is_no_call(text: str, failed: str | None, cut_off: bool) -> None:
    found = [part for part in read(Llama3(), TOOLS, text) if isinstance(part, CallFailed)]
    assert [(part.text, part.cut_off) for part in found] == [(failed or text, cut_off)]


def test_answer_in_json_is_not_held_back() -> None:
    channels = MarkedChannels(None, CallForm(Llama3(), TOOLS))
    assert channels.add('{"answer"') == [Text('{"answer"')]
    assert channels.add(": 42") == [Text(": 42")]


@settings(max_examples=15, deadline=None)
@given(
    calls=st.lists(st.tuples(names, arguments), min_size=1, max_size=3),
    between=st.sampled_from(["; ", "\n"]),
)
def test_rendered_calls_parse_back(
    calls: list[tuple[str, dict[str, Any]]], between: str
) -> None:
    text = between.join(
        json.dumps({"name": name, "parameters": given}) for name, given in calls
    )
    found = read(Llama3(), tools_named(*(name for name, _ in calls)), text)
    assert [
        (part.name, json.loads(part.arguments)) for part in found if isinstance(part, Call)
    ] == calls
    assert len(found) == len(calls)
