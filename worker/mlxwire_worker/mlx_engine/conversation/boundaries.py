"""Finds where each turn of a rendered conversation ends, by rendering its beginnings.

The process that renders chat templates runs this (`text.template_program`), so that one call does for
all turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from ..cache.prefix_tree import common_prefix

Turn = dict[str, Any]
RenderTurns = Callable[[list[Turn], bool], str | None]
"""Maps turns, and whether an answer is asked for, to the text; None if the template refuses them."""

SECONDS = 4.0
"""The time after which no further beginning is rendered. A chat of 20 turns needs 10 ms, one of 200
a second."""
_TAIL = 48
_LEAST_TAIL = 4
_WRITTEN = ("content", "reasoning_content", "reasoning", "thinking")
"""The keys of a turn's text and thoughts."""


class Boundaries(NamedTuple):
    """The end of each beginning in the text, in characters; None where it was not found.

    ``opens`` tells that the text stays as it is, once an answer and a further turn follow it.
    """

    ends: list[int | None]
    opens: bool


def find_boundaries(
    text: str,
    turns: list[Turn],
    counts: Sequence[int],
    *,
    asks: bool,
    render: RenderTurns,
    seconds: float = SECONDS,
) -> Boundaries:
    """Return where the first ``count`` turns end in the conversation's text, for each of ``counts``.

    A beginning's own text is not always one of the whole's: templates drop earlier thoughts, or write
    the turn of the system into the user's. Then the end is where the text depends on the next turn,
    without what the template writes between both, as far as that can be told.
    """
    started = monotonic()
    ends: dict[int, int | None] = {}
    # The last ones first: they are the likeliest to be reused.
    for count in dict.fromkeys([*counts[-1:], *counts[:1], *reversed(counts)]):
        if monotonic() - started < seconds:
            ends[count] = _end_of(text, turns, count, asks, render)
    opens = False
    if asks and turns:
        answered = [*turns, {"role": "assistant", "content": "0"}, _altered(_user_turn(turns))]
        opens = (render(answered, False) or "").startswith(text)
    return Boundaries(_ascending([ends.get(count) for count in counts]), opens)


def _end_of(
    text: str, turns: list[Turn], count: int, asks: bool, render: RenderTurns
) -> int | None:
    beginning = render(turns[:count], False)
    shared = None if beginning is None else common_prefix(beginning, text)
    last = count == len(turns)
    shown = beginning is not None and _shows(beginning, turns[count - 1])
    if shown and shared == len(beginning or ""):
        return shared
    if last:
        altered: str | None = text
    else:
        altered = render([*turns[:count], _altered(turns[count]), *turns[count + 1 :]], asks)
    if altered is None:
        return shared
    reached = common_prefix(altered, text)
    if not shown or beginning is None or shared is None:
        return shared if last else reached
    # The beginning differs in the middle of its last turn. It may end as that turn ends in the text.
    for size in range(_TAIL, _LEAST_TAIL - 1, -1):
        place = text.rfind(beginning[-size:], shared, reached)
        if place >= 0:
            return place + min(size, len(beginning))
    return shared if last else reached


def _shows(text: str, turn: Turn) -> bool:
    """Return True unless a turn of the system is missing from the text of a beginning."""
    content = turn.get("content")
    system = turn["role"] not in ("user", "assistant", "tool")
    return not (system and isinstance(content, str) and content.strip() not in text)


def _altered(turn: Turn) -> Turn:
    """Return a turn with another text, and other thoughts, from the first character on."""
    changed = {
        key: "1" if str(value).lstrip().startswith("0") else "0"
        for key, value in turn.items()
        if key in _WRITTEN and value
    }
    return {"content": "0", **turn, **changed} if changed else {**turn, "content": "0"}


def _user_turn(turns: list[Turn]) -> Turn:
    return next((turn for turn in turns if turn["role"] == "user"), {"role": "user"})


def _ascending(ends: list[int | None]) -> list[int | None]:
    """Replace each end that lies before an earlier one by None."""
    highest = 0
    kept: list[int | None] = []
    for end in ends:
        if end is not None and end < highest:
            end = None
        highest = max(highest, end or 0)
        kept.append(end)
    return kept
