"""The text of an answer as it arrives, for parsers that are written as generators.

A parser takes text with the methods of `Source`, by ``yield from``. They yield None whenever they
need more text than has arrived, so a parser reads as if it had the whole text, and the split of
the text into tokens can't change its result.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from ..pieces import CallPiece
from ..text import partial_match

Parsing = Iterator[CallPiece | None]
"""The pieces that a parser yields; None if it needs more text."""

SPACE = " \t\r\n"
WORD = re.compile(r"[A-Za-z0-9_.\-]")
MOST_OF_NAME = 128
"""The length of the longest name that a tool can have."""
LONGEST_NAME = 256
"""Characters in which the mark behind a name, a key or an id must come."""


class NotACall(Exception):
    """Raised by a parser for text that is no tool call; the message is a sentence without a stop."""


class CutOff(NotACall):
    """Raised if the text ends within a call."""


class OnlyText(NotACall):
    """Raised for text that looked like the beginning of a call, and that needs no explanation."""


class Source:
    """Text of which a parser takes the beginning, while its end has not arrived yet."""

    __slots__ = ("_start", "_taken", "ended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._taken = 0
        self._start = 0

    def add(self, text: str) -> None:
        """Append text that has arrived."""
        self.text += text

    @property
    def rest(self) -> str:
        """Return the text that has arrived and was not taken."""
        return self.text[self._taken :]

    @property
    def call_text(self) -> str:
        """Return the text that was taken since the last complete call, marks included."""
        return self.text[self._start : self._taken]

    def complete_call(self) -> None:
        """Note that the text which was taken so far belongs to complete calls; forget that text."""
        self.text = self.rest
        self._taken = self._start = 0

    def take_something(self) -> None:
        """Take a character if none was taken since the last complete call, so that reading goes on."""
        if self._taken == self._start and self._taken < len(self.text):
            self._taken += 1

    def peek(self, size: int) -> Generator[None, None, str]:
        """Return the next ``size`` characters without taking them; fewer at the end of the text."""
        while len(self.text) - self._taken < size and not self.ended:
            yield None
        return self.text[self._taken : self._taken + size]

    def take(self, size: int) -> Generator[None, None, str]:
        """Take the next ``size`` characters. Raises: CutOff."""
        found = yield from self.peek(size)
        self._taken += len(found)
        if len(found) < size:
            raise CutOff("the text ended within a call")
        return found

    def skip_space(self) -> Generator[None, None, None]:
        """Take white space, if there is any."""
        while (yield from self.peek(1)) in tuple(SPACE):
            self._taken += 1

    def take_word(self) -> Generator[None, None, str]:
        """Take letters, digits, `_`, `.` and `-`: as many as follow, and at most 128."""
        word = ""
        while len(word) < MOST_OF_NAME and WORD.fullmatch((yield from self.peek(1))):
            word += yield from self.take(1)
        return word

    def follows(self, *marks: str) -> Generator[None, None, str | None]:
        """Return the mark that comes next, the longest that fits; None if another text comes.

        Nothing is taken. No more text is awaited than is needed to tell.
        """
        for mark in sorted(marks, key=len, reverse=True):
            size = 0
            while size < len(mark):
                size += 1
                if not mark.startswith((yield from self.peek(size))):
                    break
                if len(self.text) - self._taken < size:
                    break  # the text ended
            else:
                return mark
        return None

    def try_take(self, *marks: str) -> Generator[None, None, str | None]:
        """Take the mark that comes next, if one of these does; else return None."""
        mark = yield from self.follows(*marks)
        if mark is not None:
            self._taken += len(mark)
        return mark

    def expect(self, *marks: str) -> Generator[None, None, str]:
        """Take one of these marks, and return it. Raises: NotACall, or CutOff at the end."""
        mark = yield from self.try_take(*marks)
        if mark is None:
            longest = max(map(len, marks))
            found = yield from self.peek(longest)
            if self.ended and any(mark.startswith(found) for mark in marks):
                self._taken += len(found)
                raise CutOff("the text ended within a call")
            raise NotACall(f"`{found}` stands where `{marks[0]}` must")
        return mark

    def until(self, *marks: str, most: int | None = None) -> Generator[None, None, str]:
        """Take the text before the first of these marks, and not the mark itself.

        Raises: NotACall if ``most`` characters have no mark in them, CutOff at the end.
        """
        begin = unread = self._taken
        longest = max(map(len, marks))
        while True:
            found = [at for mark in marks if (at := self.text.find(mark, unread)) >= 0]
            at = min(found, default=len(self.text))
            begun = 0 if found or self.ended else longest - 1  # of a mark that is not whole yet
            if most is not None and at - begun - begin > most:
                self._taken = begin + most
                raise NotACall(f"`{marks[0]}` is missing within {most} characters")
            if found and not self._might_come_before(at, marks):
                self._taken = at
                return self.text[begin:at]
            if self.ended:
                self._taken = len(self.text)
                raise CutOff("the text ended within a call")
            unread = min(at, max(begin, len(self.text) - longest + 1))
            yield None

    def pieces_until(self, *marks: str) -> Generator[str | None, None, None]:
        """Take the text before the first of these marks, and yield it as it arrives.

        The mark is not taken, and none may be the beginning of another. Raises: CutOff at the end.
        """
        while True:
            found = [at for mark in marks if (at := self.text.find(mark, self._taken)) >= 0]
            at = min(found, default=-1)
            waits = 0 if self.ended else partial_match(self.text, *marks)
            safe = at if found else len(self.text) - waits
            if safe > self._taken:
                piece = self.text[self._taken : safe]
                self._taken = safe
                yield piece
            if at >= 0:
                return
            if self.ended:
                raise CutOff("the text ended within a call")
            yield None

    def _might_come_before(self, at: int, marks: tuple[str, ...]) -> bool:
        """Return True if a longer mark that begins before ``at`` may still arrive whole."""
        if self.ended:
            return False
        return any(
            mark.startswith(self.text[begin:])
            for mark in marks
            for begin in range(max(self._taken, len(self.text) - len(mark) + 1), at)
        )
