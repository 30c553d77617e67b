"""The pieces of an answer: text, thoughts and tool calls, in the order in which the model wrote them."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """Text of the answer itself."""

    text: str


class Thought(NamedTuple):
    """Text of the model's thoughts, without the marks around it."""

    text: str


class CallBegan(NamedTuple):
    """A tool call whose name is known; ``call_id`` only where the model wrote one."""

    name: str
    call_id: str | None = None


class CallArguments(NamedTuple):
    """A fragment of the newest call's arguments. All fragments together are one JSON object."""

    text: str


class CallEnded(NamedTuple):
    """The newest call is complete, and its arguments are a JSON object."""


class CallFailed(NamedTuple):
    """A call that can't be parsed or is incomplete; ``text`` is all that the model wrote of it.

    If `CallBegan` came before, the newest call is void. ``cut_off`` is True at the end of the text.
    ``space_before`` is the white space before ``text``, which is part of the answer's text if that is.
    """

    reason: str
    text: str
    cut_off: bool = False
    space_before: str = ""


CallPiece = CallBegan | CallArguments | CallEnded
Piece = Text | Thought | CallPiece | CallFailed
