"""Answers that grammars of the tagged families and of Gemma allow parse as valid calls."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlxwire_worker.output.tool_calls.family import Mark, Tool, Tools
from mlxwire_worker.output.tool_calls.gemma import Gemma

from .tagged_forms import FORMS, Form, calls_in
from .walks import Kind, accepts, random_answers

SCHEMAS: dict[str, dict[str, Any]] = {
    "look": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 40},
            "unit": {"enum": ["°C", 'a "b" \\ c', "// no comment"]},
            "days": {"type": "integer"},
            "exact": {"type": ["boolean", "null"]},
            "more": {"type": "array"},
        },
        "required": ["city", "unit"],
    },
    "now-2": {"properties": {}, "additionalProperties": False},
}
TOOLS = Tools([Tool(name=name, parameters=schema) for name, schema in SCHEMAS.items()])


LIMITED = Tools(
    [
        Tool(
            name=name,
            parameters={
                **schema,
                "properties": {
                    key: value for key, value in schema["properties"].items() if key != "more"
                },
            },
        )
        for name, schema in SCHEMAS.items()
    ]
)
"""The tools without values that hold text of any length, which no walk would end by chance."""


KINDS: tuple[Kind, ...] = ("special", "plain", "text")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_random_answers_are_valid_calls(form: Form, parallel: bool, kind: Kind) -> None:
    def grammar(mark: Mark) -> str:
        tools = LIMITED if isinstance(form.family, Gemma) else TOOLS
        return form.family.grammar(tools, mark, parallel=parallel) or ""

    for text in random_answers(grammar, form.marks, kind, number=8):
        calls = calls_in(form.family, TOOLS, text)
        assert calls if parallel else len(calls) == 1
        for call in calls:
            jsonschema.validate(
                json.loads(call.arguments), {"type": "object", **SCHEMAS[call.name]}
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_models_write_is_accepted(form: Form, kind: Kind) -> None:
    def grammar(mark: Mark) -> str:
        return form.family.grammar(TOOLS, mark, parallel=False) or ""

    given = {"city": "Bern", "unit": "°C", "days": 3, "more": [1, 2]}
    assert accepts(grammar, form.marks, kind, form.now)
    assert accepts(grammar, form.marks, kind, form.look)
    (call,) = calls_in(form.family, TOOLS, form.look)
    assert (call.name, json.loads(call.arguments)) == ("look", given)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_the_tools_exclude_is_refused(form: Form) -> None:
    def grammar(mark: Mark) -> str:
        return form.family.grammar(TOOLS, mark, parallel=True) or ""

    for wrong in (
        form.now.replace("now-2", "fly"),
        form.now.replace("now-2", "look"),
        form.look.replace("°C", "°F"),
        form.look.replace("3", "x"),
        form.look.replace("days", "nights"),
    ):
        assert not accepts(grammar, form.marks, "special", wrong), wrong


COUNTED: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "one or more": ({"minProperties": 1}, ("k", "kj", "kji"), ("",)),
    "at most two": ({"maxProperties": 2}, ("", "k", "kj"), ("kji",)),
    "one or two": ({"minProperties": 1, "maxProperties": 2}, ("k", "kj"), ("", "kji")),
    "none": ({"maxProperties": 0}, ("",), ("k",)),
    "two or more, two have names": (
        {"minProperties": 2, "properties": {"a": {}, "b": {}}},
        ("ab", "ak", "bk", "abk", "akj"),
        ("", "a", "b", "k"),
    ),
    "two or three, one is needed": (
        {
            "minProperties": 2,
            "maxProperties": 3,
            "properties": {"a": {}, "b": {}},
            "required": ["b"],
        },
        ("ab", "bk", "abk", "bkj"),
        ("", "a", "b", "ak", "abkj"),
    ),
}
"""Limits of a number of properties, and the names of those that a call may and may not have."""


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("family", ["gemma, 4", "glm, lines: False", "minimax"])
def test_properties_are_counted(family: str, name: str) -> None:
    limits, fitting, others = COUNTED[name]
    integers = {key: {"type": "integer"} for key in limits.get("properties", {})}
    schema = {
        **limits,
        "properties": integers,
        "additionalProperties": {"type": "integer"},
    }
    tools = Tools([Tool(name="now-2", parameters=schema)])
    form = FORMS[family]

    def grammar(mark: Mark) -> str:
        return form.family.grammar(tools, mark, parallel=False) or ""

    written = {
        "gemma, 4": (",", "{}:1"),
        "glm, lines: False": ("", "<arg_key>{}</arg_key><arg_value>1</arg_value>"),
        "minimax": ("", '<parameter name="{}">1</parameter>\n'),
    }
    between, each = written[family]
    before, behind = {
        "gemma, 4": ("{", "}<tool_call|>"),
        "glm, lines: False": ("", "</tool_call>"),
        "minimax": ("", "</invoke>"),
    }[family]

    def fits(names: str) -> bool:
        members = between.join(each.format(key) for key in names)
        head, tail = form.now.split(before + behind)
        return accepts(grammar, form.marks, "special", head + before + members + behind + tail)

    assert [names for names in (*fitting, *others) if fits(names)] == list(fitting)
