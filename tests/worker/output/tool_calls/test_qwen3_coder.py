"""Calls in the form of Qwen3-Coder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.marked import CallForm, MarkedChannels
from mlxwire_worker.output.pieces import CallArguments, CallBegan, CallEnded
from mlxwire_worker.output.tool_calls.family import Tool, Tools
from mlxwire_worker.output.tool_calls.qwen3_coder import Qwen3Coder

from .cuts import Call, parts_of, split
from .tagged import TOOLS, decoded, failure
from .values import names, texts


def whole(name: str, **values: str) -> str:
    given = "".join(
        f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in values.items()
    )
    return f"<tool_call>\n<function={name}>\n{given}</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(whole("now"), [("now", {})], id="no arguments"),
        pytest.param(
            whole("weather", city="Zürich 🦜", days="3", exact="True", ratio="2.5"),
            [("weather", {"city": "Zürich 🦜", "days": 3, "exact": True, "ratio": 2.5})],
            id="types",
        ),
        pytest.param(
            whole("weather", city="42", either="7", limit="None"),
            [("weather", {"city": "42", "either": 7, "limit": None})],
            id="a string that looks like a number",
        ),
        pytest.param(
            whole("weather", city="\n  a\n\nb \n", days=" 4 "),
            [("weather", {"city": "\n  a\n\nb \n", "days": 4})],
            id="one newline at each end belongs to the form",
        ),
        pytest.param(
            whole("weather", city="", tags="['a', \"b\"]", more='{"a":\n[1]}'),
            [("weather", {"city": "", "tags": ["a", "b"], "more": {"a": [1]}})],
            id="empty, Python and JSON",
        ),
        pytest.param(
            whole("weather", city='<b> & "q" \\ </tool_call> </function> <parameter=x>'),
            [("weather", {"city": '<b> & "q" \\ </tool_call> </function> <parameter=x>'})],
            id="marks within a value",
        ),
        pytest.param(
            f"Let me.\n{whole('now')}\n{whole('weather', city='a')}\nDone",
            ["Let me.", ("now", {}), ("weather", {"city": "a"}), "Done"],
            id="two, with text",
        ),
        pytest.param(
            "<function=weather>\n<parameter=city>\na\n</parameter>\n</function>\n</tool_call>",
            [("weather", {"city": "a"})],
            id="no opening mark",
        ),
        pytest.param(
            "<function=now></function> so", [("now", {}), "so"], id="no marks around it"
        ),
        pytest.param(
            "<tool_call>\n<function=weather>\n<parameter=city>\na\n<parameter=days>\n3\n"
            "</function>\n</tool_call>",
            [("weather", {"city": "a", "days": 3})],
            id="forgotten ends of parameters",
        ),
        pytest.param(
            "<tool_call>\n<function=weather>\n<parameter=city>a</parameter>\n</tool_call>",
            [("weather", {"city": "a"})],
            id="forgotten end of the function",
        ),
        pytest.param(
            "<tool_call><function=now></function><function=now></function></tool_call>",
            [("now", {}), ("now", {})],
            id="two in one section",
        ),
        pytest.param(
            '<tool_call>{"name": "now", "arguments": {"a": 1}}</tool_call>',
            [("now", {"a": 1})],
            id="JSON",
        ),
        pytest.param(
            whole("any-thing.2", a="1", b="x y", c='{"d": null}', e="nan", f="1e999"),
            [("any-thing.2", {"a": 1, "b": "x y", "c": {"d": None}, "e": "nan", "f": "1e999"})],
            id="parameters without a schema",
        ),
        pytest.param(
            whole("weather", days="x", ratio="1e999", exact="maybe", tags="{}"),
            [("weather", {"days": "x", "ratio": "1e999", "exact": "maybe", "tags": "{}"})],
            id="values of no type are strings",
        ),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert decoded(Qwen3Coder(), text) == parts


def test_strings_are_streamed() -> None:
    channels = MarkedChannels(None, CallForm(Qwen3Coder(), TOOLS))
    assert channels.add("<tool_call>\n<function=weather>") == [CallBegan("weather")]
    began = channels.add("\n<parameter=city>\nZü")
    assert "".join(p.text for p in began if isinstance(p, CallArguments)) == '{"city": "Zü'
    assert channels.add('rich "') == [CallArguments('rich \\"')]
    assert channels.add("\n</parameter>\n") == [CallArguments('"')]
    assert channels.add("</function>") == [CallArguments("}"), CallEnded()]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(whole("fly", a="1"), id="unknown tool"),
        pytest.param("<tool_call>\nhello\n</tool_call>", id="no function"),
        pytest.param(
            "<tool_call>\n<function=now>\nhello\n</function>", id="text between parameters"
        ),
    ],
)
def test_what_is_no_call_is_told_whole(text: str) -> None:
    failed = failure(Qwen3Coder(), text)
    assert failed.text.startswith(text.removesuffix("\n</tool_call>"))
    assert not failed.cut_off


def test_every_beginning_of_a_call_is_cut_off() -> None:
    text = whole("weather", city="a\nb", days="3")
    for size in range(len("<tool_call>") + 1, text.index("</function>") + 5):
        failed = failure(Qwen3Coder(), text[:size])
        assert failed.cut_off
        assert failed.text.rstrip() == text[:size].rstrip()


plain = texts.filter(
    lambda text: not any(mark in f"\n{text}" for mark in ("</parameter>", "\n<", "\r"))
)


@settings(max_examples=60, deadline=None)
@given(names, st.dictionaries(names, plain, max_size=3))
def test_rendered_calls_parse_back(name: str, values: dict[str, str]) -> None:
    schema = {"properties": {key: {"type": "string"} for key in values}}
    tools = Tools([Tool(name=name, parameters=schema)])
    channels = MarkedChannels(None, CallForm(Qwen3Coder(), tools))
    (call,) = parts_of(split(channels, list(whole(name, **values))))
    assert isinstance(call, Call)
    assert (call.name, json.loads(call.arguments)) == (name, values)
