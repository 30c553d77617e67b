"""Calls in the forms of FunctionGemma and Gemma 4."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.output.marked import CallForm, MarkedChannels, ThoughtMarks
from mlxwire_worker.output.pieces import Thought
from mlxwire_worker.output.tool_calls.gemma import Gemma

from .cuts import Call, parts_of, split_at_every_cut
from .tagged import TOOLS, decoded, failure

FORMS = {
    "function": ("<start_function_call>", "<end_function_call>", "<escape>"),
    "4": ("<|tool_call>", "<tool_call|>", '<|"|>'),
}


def whole(form: str, call: str) -> str:
    """Return a call in one of the forms; `~` stands for the mark of a string."""
    begin, end, quote = FORMS[form]
    return f"{begin}{call.replace('~', quote)}{end}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("call", "part"),
    [
        ("call:now{}", ("now", {})),
        ("call:now{ }", ("now", {})),
        (":now{}", ("now", {})),
        (":call:now{}", ("now", {})),
        ("call:any-thing.2{a:108.,b:-3,c:1e5,d:None}", "numbers"),
        ("call:weather{city:~Paris, France~,days:42}", {"city": "Paris, France", "days": 42}),
        ("call:weather{city:~~}", {"city": ""}),
        ('call:weather{city:~"a" } ] , \\ <b>\n🦜~}', {"city": '"a" } ] , \\ <b>\n🦜'}),
        ("call:weather{exact:true,limit:null,ratio:3.14}", [True, None, 3.14]),
        ("call:weather{days:~42~,exact:~true~}", {"days": 42, "exact": True}),
        ("call:weather{ratio:108.,city:~42~}", {"ratio": 108.0, "city": "42"}),
        ("call:weather{tags:[~a]b~,~c~],more:{x:{~3~:[1,[],{}]}}}", "nested"),
        ("call:weather{city:~a~days:3}", {"city": "a", "days": 3}),
        ('call:weather{"city": "a\\"b" , days : 3 }', {"city": 'a"b', "days": 3}),
        ("call:weather{city:bare text}", {"city": "bare text"}),
        ("call:any-thing.2{a:,b:x,c:[[~q~],~t~]}", "any"),
    ],
)
def test_calls(form: str, call: str, part: Any) -> None:
    named: dict[str, Any] = {
        "nested": {"tags": ["a]b", "c"], "more": {"x": {"3": [1, [], {}]}}},
        "numbers": {"a": 108.0, "b": -3, "c": 100000, "d": None},
        "any": {"a": "", "b": "x", "c": [["q"], "t"]},
    }
    given = part
    if isinstance(part, str):
        given = named[part]
    elif isinstance(part, list):
        given = dict(zip(("exact", "limit", "ratio"), part, strict=True))
    elif isinstance(part, tuple):
        given = part[1]
    name = call.split("{")[0].rpartition(":")[2]
    text = whole(form, call)
    assert decoded(Gemma(), f"So. {text}{text} bye") == [
        "So.",
        (name, given),
        (name, given),
        "bye",
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('call:weather{city:<|"|>Oslo<|"|>}', [("weather", {"city": "Oslo"})]),
        ("I look. call:now{} So.", ["I look.", ("now", {}), "So."]),
        ("I call: now{}, then call:fly{} or call:now.", None),
        (" Then I call:", None),
    ],
)
def test_calls_without_marks(text: str, parts: list[Any] | None) -> None:
    assert decoded(Gemma(), text) == ([text] if parts is None else parts)


def test_a_call_without_marks_behind_a_thought() -> None:
    marks = ThoughtMarks("<|channel>thought\n", "<channel|>")
    text = "<|channel>thought\nI look.\n<channel|>call:now{}"
    pieces = split_at_every_cut(lambda: MarkedChannels(marks, CallForm(Gemma(), TOOLS)), text)
    assert parts_of(pieces) == [Thought("I look."), Call("now", "{}")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "call",
    ["call:fly{a:1}", "hello", "call:now", "call:weather{city:~a~]}", "call:weather{[1]}"],
)
def test_what_is_no_call_is_told_whole(form: str, call: str) -> None:
    text = whole(form, call)
    failed = failure(Gemma(), text)
    assert (failed.text, failed.cut_off) == (text, False)


def test_arguments_that_are_nested_too_deep_are_refused() -> None:
    text = whole("4", "call:weather{tags:" + "[" * 80 + "]" * 80 + "}")
    assert "64 levels" in failure(Gemma(), text).reason


@pytest.mark.parametrize("form", FORMS)
def test_every_beginning_of_a_call_is_cut_off(form: str) -> None:
    text = whole(form, "call:weather{city:~a~,tags:[~b~],more:{x:1}}")
    end = text.index(FORMS[form][1])
    for size in range(len(FORMS[form][0]), end):
        assert failure(Gemma(), text[:size]).cut_off, text[:size]
