"""Thoughts and calls are split from the answer, however the text was cut into tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_worker.output.marked import CallForm, MarkedChannels, ThoughtMarks
from mlxwire_worker.output.pieces import (
    CallArguments,
    CallBegan,
    CallEnded,
    CallFailed,
    Piece,
    Text,
    Thought,
)
from mlxwire_worker.output.tool_calls.family import Family, Tool, Tools
from mlxwire_worker.output.tool_calls.source import NotACall, Parsing, Source

THINK = ThoughtMarks("<think>", "</think>")


class Plain(Family):
    """A form for these tests: <call>NAME:ARGUMENTS</call>, `!NAME:…!` as the first text, or `?NAME:…!`."""

    name = "plain"
    openings = ("<call>",)
    opens_text = ("!f",)
    loose_openings = ("?",)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        end = "</call>" if (yield from source.try_take("<call>")) else "!"
        yield from source.try_take("!", "?")
        name = yield from source.until(":")
        yield CallBegan(tools.named(name).name)
        yield from source.expect(":")
        arguments = ""
        for piece in source.pieces_until(end):
            if piece is not None:
                arguments += piece
                yield CallArguments(piece)
            else:
                yield None
        yield from source.expect(end)
        try:
            json.loads(arguments)
        except ValueError:
            raise NotACall("the arguments are no JSON") from None
        source.complete_call()
        yield CallEnded()


CALLS = CallForm(Plain(), Tools([Tool(name="f", parameters={}), Tool(name="g", parameters={})]))


def joined(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces with neighbours of one kind as one piece."""
    whole: list[Piece] = []
    for piece in pieces:
        before = whole[-1] if whole else None
        if isinstance(piece, Text | Thought | CallArguments) and type(before) is type(piece):
            assert isinstance(before, Text | Thought | CallArguments)
            whole[-1] = type(piece)(before.text + piece.text)
        else:
            whole.append(piece)
    return whole


def split(parts: Iterator[str] | list[str], *, in_thought: bool = False) -> list[Piece]:
    channels = MarkedChannels(THINK, CALLS, in_thought=in_thought)
    pieces = [piece for part in parts for piece in channels.add(part)]
    return joined([*pieces, *channels.finish()])


F = [CallBegan("f"), CallArguments("{}"), CallEnded()]
CASES: list[tuple[str, list[Piece]]] = [
    ("", []),
    ("Hello", [Text("Hello")]),
    (" Hello \n", [Text(" Hello \n")]),
    ("a < b <thin> c", [Text("a < b <thin> c")]),
    ("a <think", [Text("a <think")]),
    ("<think>hm</think>Hi", [Thought("hm"), Text("Hi")]),
    ("<think>\n hm \n</think>\n\nHi ", [Thought("hm"), Text("Hi ")]),
    ("<think>\n\n</think>\n\nHi", [Text("Hi")]),
    ("<think>a\nb", [Thought("a\nb")]),
    ("<think>a </thin", [Thought("a </thin")]),
    ("<think>a</think>", [Thought("a")]),
    ("<think>a</think>b<think>c</think>d", [Thought("a"), Text("b"), Thought("c"), Text("d")]),
    ("<think><call>f:{}</call></think>x", [Thought("<call>f:{}</call>"), Text("x")]),
    ("<think>a\n<call>f:{}</call>", [Thought("a"), *F]),
    ("<think>a <call>f:{}</call> \n<call>f:{}</call>", [Thought("a"), *F, *F]),
    ("<think>a <call>f:{}</call> b </think>x", [Thought("a <call>f:{}</call> b"), Text("x")]),
    ("<think>a <call>h:{}</call> b", [Thought("a <call>h:{}</call> b")]),
    ("<think>a <call", [Thought("a <call")]),
    ("stray</think>text", [Text("stray</think>text")]),
    ("<call>f:{}</call>", F),
    ("So: \n<call>f:{}</call>\n", [Text("So:"), *F]),
    ("<call>f:{}</call>\n<call>f:{}</call>", [*F, *F]),
    ("<think>x</think>\n\n<call>f:{}</call> b ", [Thought("x"), *F, Text("b ")]),
    ("!f:{}!b", [*F, Text("b")]),
    (" \n!f:{}!", F),
    ("a !f:{}!", [Text("a !f:{}!")]),
    ("!x", [Text("!x")]),
    (
        "<call>f:{]</call>b",
        [
            CallBegan("f"),
            CallArguments("{]"),
            CallFailed("the arguments are no JSON", "<call>f:{]</call>"),
            Text("b"),
        ],
    ),
    (
        "<call>h:{}</call>",
        [
            CallFailed("the model called `h`, which is not in `tools`", "<call>h"),
            Text(":{}</call>"),
        ],
    ),
    (
        "a <call>f:{",
        [
            Text("a"),
            CallBegan("f"),
            CallArguments("{"),
            CallFailed("the text ended within a call", "<call>f:{", True, space_before=" "),
        ],
    ),
    (
        "<call>f:{}</call> \n<call>h:{}</call>",
        [
            *F,
            CallFailed("the model called `h`, which is not in `tools`", "<call>h"),
            Text(":{}</call>"),
        ],
    ),
    ("a \n?f:{}! b", [Text("a"), *F, Text("b")]),
    (" ?f:{}!", F),
    ("Is it \n ?h:{}! so?", [Text("Is it \n ?h:{}! so?")]),
    ("\n? ?f", [Text("\n? ?f")]),
    (
        "a ?f:{",
        [
            Text("a"),
            CallBegan("f"),
            CallArguments("{"),
            CallFailed("the text ended within a call", "?f:{", True, space_before=" "),
        ],
    ),
    ("<think>a? b</think>c ? d", [Thought("a? b"), Text("c ? d")]),
]


@pytest.mark.parametrize(("text", "pieces"), CASES, ids=[text for text, _ in CASES])
def test_a_text_is_split_alike_at_every_cut(text: str, pieces: list[Piece]) -> None:
    assert split([text]) == pieces
    assert split(list(text)) == pieces
    for cut in range(1, len(text)):
        assert split([text[:cut], text[cut:]]) == pieces, (text[:cut], text[cut:])


def test_a_thought_that_the_prompt_opened_is_one() -> None:
    assert split(["\nhm\n</think>\n\nHi"], in_thought=True) == [Thought("hm"), Text("Hi")]
    assert split(["hm"], in_thought=True) == [Thought("hm")]


def test_a_mark_in_an_answer_with_a_form_is_text() -> None:
    channels = MarkedChannels(THINK, None, formed=True)
    pieces = [*channels.add('<think>hm</think>{"a": "<think>'), *channels.add('x"}')]

    assert joined([*pieces, *channels.finish()]) == [
        Thought("hm"),
        Text('{"a": "<think>x"}'),
    ]


def test_text_is_not_held_back_longer_than_it_must() -> None:
    channels = MarkedChannels(THINK, CALLS)

    assert channels.add("Hello, w") == [Text("Hello, w")]
    assert channels.add("orld <") == [Text("orld")]
    assert channels.add("b>") == [Text(" <b>")]
    assert not channels.thinking
    assert channels.add("<think>So") == [Thought("So")]
    assert channels.thinking


PARTS = [
    "<think>",
    "</think>",
    "<call>",
    "</call>",
    "f:",
    "{}",
    "h:",
    "!",
    "\n",
    " ",
    "x",
    "<",
    "/",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.data())
def test_any_text_is_split_alike_at_any_cuts(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    bounds = [0, *cuts, len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(bounds)]

    assert split(parts) == split([text])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_no_character_beside_marks_and_white_space_is_lost(text: str) -> None:
    kept = "".join(
        piece.text for piece in split([text]) if isinstance(piece, Text | Thought | CallFailed)
    )
    for mark in ("<think>", "</think>", "<call>", "</call>"):
        text, kept = text.replace(mark, ""), kept.replace(mark, "")

    assert set("".join(kept.split())) <= set("".join(text.split()))
    assert "x" not in text or "x" in kept or "f:" in text


@pytest.mark.parametrize("in_thought", [False, True])
def test_a_mark_of_several_tokens_that_is_cut_off_is_no_text(in_thought: bool) -> None:
    marks = ThoughtMarks("<|open|>think<|sep|>", "<|close|>think<|sep|>")
    begun = "<|close|>" if in_thought else "<|open|>"
    for text, rest in ((begun, ""), (begun + "thi", ""), (begun[:-1], begun[:-1])):
        channels = MarkedChannels(marks, None, in_thought=in_thought)
        pieces = channels.add("hm " + text) + channels.finish()
        said = "".join(piece.text for piece in pieces if isinstance(piece, Text | Thought))

        assert said.rstrip() == f"hm {rest}".rstrip()
