"""Finds the boundaries of a chat for the prompt cache, and remembers those of the last chats.

The next turn of a chat then renders only the beginnings that are new. Boundaries only save time, so a
chat whose boundaries can't be found goes on without them.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Any, NamedTuple

from mlxwire_protocol import WireError

from ..cache.prefix_tree import common_prefix
from .boundaries import Boundaries
from .encoding import FindBoundaries
from .turn_forms import Turn

CHAT_SECONDS = 0.5
"""The longest that a chat waits for its boundaries."""
MOST_CHATS = 32
MOST_CHARACTERS = 1 << 22
"""The most chats that are remembered, and the most characters of their texts together."""
MOST_SOUGHT = 32
"""The most beginnings that are rendered for one chat: the first, and the last ones."""


class _Chat(NamedTuple):
    template: str
    others: dict[str, Any]
    turns: list[Turn]
    text: str
    ends: dict[int, int]
    opens: bool

    def known(self, text: str, turns: list[Turn]) -> dict[int, int]:
        """Return the ends that hold in another chat's text as well."""
        pairs = zip(self.turns, turns, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        shared = common_prefix(self.text, text) if alike else 0
        return {
            count: end for count, end in self.ends.items() if count <= alike and end <= shared
        }


class KnownBoundaries:
    """A `FindBoundaries` that never raises. The prepare thread alone calls it."""

    def __init__(self, find: FindBoundaries) -> None:
        self._find = find
        self._chats: deque[_Chat] = deque()
        self._too_slow: str | None = None

    def __call__(
        self, template: str, variables: dict[str, Any], text: str, counts: list[int]
    ) -> Boundaries:
        """Return where the first ``counts`` turns end in the text, None where that is not known."""
        turns: list[Turn] = variables["messages"]
        others = {name: value for name, value in variables.items() if name != "messages"}
        ends: dict[int, int] = {}
        for chat in list(self._chats):
            if chat.template != template or chat.others != others:
                continue
            known = chat.known(text, turns)
            if chat.text == text and chat.turns == turns:
                return _told(known, counts, opens=chat.opens)
            if len(known) > len(ends):
                ends = known
            if known and max(known) == len(chat.turns):
                self._chats.remove(chat)  # this chat goes on with it
        # Those behind the known ones: the cache has what is before. The last one always: no other chat
        # tells if the text opens further turns.
        newest = max(ends, default=0)
        sought = [count for count in counts if count > newest or count == counts[-1]]
        sought = [*sought[:1], *sought[1:][1 - MOST_SOUGHT :]]
        if template == self._too_slow:
            return _told(ends, counts, opens=False)
        try:
            found = self._find(template, variables, text, sought)
        except WireError as error:
            if error.code == "invalid_params":  # it takes too much time or memory
                self._too_slow = template
            return _told(ends, counts, opens=False)
        ends.update(
            (count, end)
            for count, end in zip(sought, found.ends, strict=True)
            if end is not None
        )
        self._remember(_Chat(template, others, turns, text, ends, found.opens))
        return _told(ends, counts, opens=found.opens)

    def _remember(self, chat: _Chat) -> None:
        self._chats.append(chat)
        while len(self._chats) > MOST_CHATS or (
            sum(len(chat.text) for chat in self._chats) > MOST_CHARACTERS
        ):
            self._chats.popleft()


def _told(ends: dict[int, int], counts: list[int], *, opens: bool) -> Boundaries:
    return Boundaries([ends.get(count) for count in counts], opens)
