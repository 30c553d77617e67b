"""Calls in the form of MiniMax M1, which Jamba and Hunyuan write too."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.minimax import MiniMaxM1

from .cuts import Call, read, tools_named

TOOLS = tools_named("look", "now")
LOOK = '{"name": "look", "arguments": {"a": "</tool_calls>"}}'
LOOKED = Call("look", '{"a": "</tool_calls>"}')
NOW = Call("now", "{}")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"<tool_calls>\n{LOOK}\n</tool_calls>", [LOOKED]),
        (
            f'I look. <tool_calls>\n{LOOK}\n{{"name": "now"}}\n</tool_calls>\nSo.',
            [Text("I look."), LOOKED, NOW, Text("So.")],
        ),
        (f'<tool_calls>[\n  {LOOK},\n  {{"name": "now"}}\n]</tool_calls>', [LOOKED, NOW]),
        (f'<tool_calls>{LOOK},{{"name": "now"}}', [LOOKED, NOW]),
        (f"<tool_calls>{LOOK} so", [LOOKED, Text("so")]),
        ("a <tool_calls> </tool_calls>", [Text("a")]),
        (f"<tool_calls>{LOOK}</tool_calls><tool_calls>{LOOK}</tool_calls>", [LOOKED, LOOKED]),
    ],
)
def test_parts(text: str, parts: list[Any]) -> None:
    assert read(MiniMaxM1(), TOOLS, text) == parts


@pytest.mark.parametrize("bad", ["{bad}", '{"arguments": {}}', '{"name": "fly"}'])
def test_an_object_that_is_no_call_leaves_the_calls_before_it(bad: str) -> None:
    text = f"<tool_calls>\n{LOOK}\n{bad}\n</tool_calls>"
    first, failed = read(MiniMaxM1(), TOOLS, text)
    assert first == LOOKED
    assert isinstance(failed, CallFailed)
    assert failed.text == f"{bad}\n</tool_calls>"


def test_a_call_that_is_cut_off() -> None:
    [failed] = read(MiniMaxM1(), TOOLS, '<tool_calls>\n{"name": "look", "arg')
    assert isinstance(failed, CallFailed)
    assert failed.cut_off
