"""Splits an answer into pieces at every cut of its text, and checks that no cut changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mlxwire_worker.output.channels import Channels
from mlxwire_worker.output.marked import CallForm, MarkedChannels
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


class Call(NamedTuple):
    """A complete call, with its arguments as they were streamed."""

    name: str
    arguments: str
    call_id: str | None = None


def tools_named(*names: str) -> Tools:
    """Return tools that take any object."""
    return Tools([Tool(name=name, parameters={}) for name in names])


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbouring pieces of text, of thoughts and of arguments."""
    whole: list[Piece] = []
    for piece in pieces:
        last = whole[-1] if whole else None
        if isinstance(piece, Text) and isinstance(last, Text):
            whole[-1] = Text(last.text + piece.text)
        elif isinstance(piece, Thought) and isinstance(last, Thought):
            whole[-1] = Thought(last.text + piece.text)
        elif isinstance(piece, CallArguments) and isinstance(last, CallArguments):
            whole[-1] = CallArguments(last.text + piece.text)
        else:
            whole.append(piece)
    return whole


def split(channels: Channels, parts: Iterable[str]) -> list[Piece]:
    """Return the joined pieces of an answer that arrives in these parts."""
    pieces: list[Piece] = []
    for part in parts:
        pieces += channels.add(part)
    return joined(pieces + channels.finish())


def split_at_every_cut(make: Callable[[], Channels], text: str) -> list[Piece]:
    """Return the pieces of a text; assert that they are the same however the text is cut."""
    whole = split(make(), [text])
    assert split(make(), list(text)) == whole
    for at in range(1, len(text)):
        assert split(make(), [text[:at], text[at:]]) == whole, (text[:at], text[at:])
    return whole


def pieces_at_every_cut(family: Family, tools: Tools, text: str) -> list[Piece]:
    """Return the pieces of an answer; assert that they are the same however the text is cut."""
    return split_at_every_cut(lambda: MarkedChannels(None, CallForm(family, tools)), text)


def parts_of(pieces: Sequence[Piece]) -> list[Call | Text | Thought | CallFailed]:
    """Return the pieces with each complete call as one part, and without those of failed ones."""
    parts: list[Call | Text | Thought | CallFailed] = []
    began: CallBegan | None = None
    arguments = ""
    for piece in pieces:
        match piece:
            case CallBegan():
                assert began is None, "a call began within another one"
                began, arguments = piece, ""
            case CallArguments():
                assert began is not None
                arguments += piece.text
            case CallEnded():
                assert began is not None
                parts.append(Call(began.name, arguments, began.call_id))
                began = None
            case _:
                began = None
                parts.append(piece)
    assert began is None, "a call neither ended nor failed"
    return parts


def read(family: Family, tools: Tools, text: str) -> list[Call | Text | Thought | CallFailed]:
    """Return the parts of an answer; assert that they are the same however the text is cut."""
    return parts_of(pieces_at_every_cut(family, tools, text))
