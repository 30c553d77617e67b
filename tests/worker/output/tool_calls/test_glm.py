"""Calls in the form of GLM."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.output.tool_calls.glm import Glm

from .tagged import decoded, failure


def whole(name: str, *, line: str = "\n", **values: str) -> str:
    given = "".join(
        f"<arg_key>{key}</arg_key>{line}<arg_value>{text}</arg_value>{line}"
        for key, text in values.items()
    )
    return f"<tool_call>{name}{line}{given}</tool_call>"


@pytest.mark.parametrize("line", ["\n", "", "\\n"])
@pytest.mark.parametrize(
    ("name", "values", "given"),
    [
        ("now", {}, {}),
        ("weather", {"city": "Beijing 北京", "days": "3"}, {"city": "Beijing 北京", "days": 3}),
        ("weather", {"city": " 42\n", "exact": "false"}, {"city": " 42\n", "exact": False}),
        ("weather", {"city": '</tool_call> "\\'}, {"city": '</tool_call> "\\'}),
        (
            "weather",
            {"tags": '["a"]', "more": "{'a': None}"},
            {"tags": ["a"], "more": {"a": None}},
        ),
        (
            "weather",
            {"tags": r"[\"a b\", \"\\\"\\n\"]", "more": r"{\"a\": [1]}", "city": r"\"a\""},
            {"tags": ["a b", '"\n'], "more": {"a": [1]}, "city": r"\"a\""},
        ),
        ("any-thing.2", {"a": "1", "b": "text"}, {"a": 1, "b": "text"}),
    ],
)
def test_calls(line: str, name: str, values: dict[str, str], given: dict[str, Any]) -> None:
    text = whole(name, line=line, **values)
    parts = decoded(Glm(), f"So.\n{text}{text} bye")
    assert parts == ["So.", (name, given), (name, given), "bye"]


def test_json_within_the_marks_is_understood() -> None:
    text = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    assert decoded(Glm(), text) == [("now", {})]


@pytest.mark.parametrize(
    "text",
    [
        whole("fly", a="1"),
        whole("weath", city="a"),
        "<tool_call>now hello</tool_call>",
        "<tool_call>now<arg_key>a</arg_key>b</tool_call>",
        "<tool_call></tool_call>",
    ],
)
def test_what_is_no_call_is_told_whole(text: str) -> None:
    failed = failure(Glm(), text)
    assert (failed.text, failed.cut_off) == (text, False)


def test_every_beginning_of_a_call_is_cut_off() -> None:
    text = whole("weather", city="a\nb", days="3")
    for size in range(len("<tool_call>"), len(text)):
        assert failure(Glm(), text[:size]).cut_off, text[:size]
