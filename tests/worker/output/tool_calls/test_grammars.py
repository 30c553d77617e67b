"""Answers that grammars of JSON families allow parse as calls, with arguments that are valid."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import jsonschema
import pytest
from llguidance import LLMatcher

from mlxwire_worker.output.marked import CallForm, MarkedChannels
from mlxwire_worker.output.tool_calls import deepseek, hermes, kimi, mistral
from mlxwire_worker.output.tool_calls.deepseek import DeepSeek
from mlxwire_worker.output.tool_calls.family import Family, Mark, Tool, Tools
from mlxwire_worker.output.tool_calls.hermes import Hermes
from mlxwire_worker.output.tool_calls.kimi import Kimi
from mlxwire_worker.output.tool_calls.llama3 import Llama3
from mlxwire_worker.output.tool_calls.minimax import MiniMaxM1
from mlxwire_worker.output.tool_calls.mistral import Mistral

from .cuts import Call, parts_of, split
from .walks import Kind, accepts, random_answers

SCHEMAS: dict[str, dict[str, Any]] = {
    "look": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "unit": {"enum": ["°C", 'a "quoted" \\ one', "// no comment", "%json {"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "more": {"$ref": "#/$defs/more"},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
        "$defs": {"more": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
    },
    "look-up.2": {
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "maxProperties": 1,
    },
    "anything": {},
}
TOOLS = Tools([Tool(name=name, parameters=schema) for name, schema in SCHEMAS.items()])


class Form(NamedTuple):
    family: Family
    marks: tuple[str, ...]


FORMS = {
    "hermes": Form(Hermes(), (hermes._BEGIN, hermes._END)),
    "llama3": Form(Llama3(), ("<|python_tag|>",)),
    **{
        f"minimax-m1, in_list: {in_list}": Form(
            MiniMaxM1(in_list=in_list), ("<tool_calls>", "</tool_calls>")
        )
        for in_list in (True, False)
    },
    "mistral, list": Form(Mistral(), (mistral._BEGIN,)),
    "mistral, name": Form(Mistral("name"), (mistral._BEGIN, mistral._ARGUMENTS)),
    "mistral, id": Form(
        Mistral("name and id"), (mistral._BEGIN, mistral._ID, mistral._ARGUMENTS)
    ),
    "kimi": Form(
        Kimi(),
        (kimi._SECTIONS[0], kimi._SECTION_ENDS[0], kimi._BEGIN, kimi._ARGUMENTS, kimi._END),
    ),
    **{
        f"deepseek, fenced: {fenced}": Form(
            DeepSeek(fenced=fenced),
            (
                deepseek._SECTION,
                deepseek._SECTION_END,
                deepseek._BEGIN,
                deepseek._SEPARATOR,
                deepseek._END,
            ),
        )
        for fenced in (True, False)
    },
}


def rendered(name: str, form: str, arguments: str) -> str:
    """Return one call as the form's models write it."""
    head = f'{{"name": "{name}", "arguments": {arguments}}}'
    fence = f"function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
    section = (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    )
    kimi_call = (
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0"
        f"<|tool_call_argument_begin|>{arguments}<|tool_call_end|><|tool_calls_section_end|>"
    )
    return {
        "hermes": f"<tool_call>\n{head}\n</tool_call>",
        "llama3": f'{{"name": "{name}", "parameters": {arguments}}}',
        "minimax-m1, in_list: True": f"<tool_calls>[{head}]</tool_calls>",
        "minimax-m1, in_list: False": f"<tool_calls>\n{head}\n</tool_calls>",
        "mistral, list": f"[TOOL_CALLS] [{head}]",
        "mistral, name": f"[TOOL_CALLS]{name}[ARGS]{arguments}",
        "mistral, id": f"[TOOL_CALLS]{name}[CALL_ID]a1b2c3d4e[ARGS]{arguments}",
        "kimi": kimi_call,
        "deepseek, fenced: True": section.format(fence),
        "deepseek, fenced: False": section.format(f"{name}<｜tool▁sep｜>{arguments}"),
    }[form]


def calls_in(family: Family, text: str) -> list[Call]:
    channels = MarkedChannels(None, CallForm(family, TOOLS))
    parts = parts_of(split(channels, [text]))
    calls = [part for part in parts if isinstance(part, Call)]
    assert calls == parts, text
    return calls


@pytest.mark.parametrize("kind", ["special", "plain", "text"])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_random_answers_are_valid_calls(form: Form, parallel: bool, kind: Kind) -> None:
    family, marks = form
    texts = random_answers(
        lambda mark: family.grammar(TOOLS, mark, parallel=parallel) or "",
        marks,
        kind,
    )
    for text in texts:
        if re.search(r"\d[eE]\+?\d{3}", text):
            continue  # a number that is too large for a float
        calls = calls_in(family, text)
        assert calls if parallel else len(calls) == 1
        for call in calls:
            jsonschema.validate(
                json.loads(call.arguments), {"type": "object", **SCHEMAS[call.name]}
            )


GIVEN = {
    "look": '{"city": "Zürich", "unit": "// no comment", "days": 3, "more": [true,false]}',
    "look-up.2": '{"ok":true}',
    "anything": '{"a": [{"b": null}], "": -1.5e3}',
}


@pytest.mark.parametrize("kind", ["special", "plain", "text"])
@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("form", FORMS)
def test_what_models_write_is_accepted(form: str, name: str, kind: Kind) -> None:
    family, marks = FORMS[form]
    text = rendered(name, form, GIVEN[name])
    for parallel in (True, False):

        def grammar(mark: Mark, parallel: bool = parallel) -> str:
            return family.grammar(TOOLS, mark, parallel=parallel) or ""

        assert accepts(grammar, marks, kind, text)
    assert [call.name for call in calls_in(family, text)] == [name]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("fly", "{}"),
        ("look", "{}"),
        ("look", '{"city": "Zürich", "unit": "°F"}'),
        ("look-up.2", '{"ok": 1}'),
        ("look-up.2", '{"ok": true, "b": 2}'),
        ("anything", "[]"),
        ("anything", '{"a":  1}'),
        ("anything", '{"a": "\\ud800"}'),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_the_tools_exclude_is_refused(form: str, name: str, given: str) -> None:
    family, marks = FORMS[form]

    def grammar(mark: Mark) -> str:
        return family.grammar(TOOLS, mark, parallel=True) or ""

    assert not accepts(grammar, marks, "special", rendered(name, form, given))


def test_strict_tools_refuse_what_a_grammar_cannot_enforce() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    for strict in (True, False):
        tools = Tools([Tool(name="look", parameters=schema, strict=strict)])
        lark = Hermes().grammar(tools, json.dumps, parallel=False)
        assert bool(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark))) is strict
