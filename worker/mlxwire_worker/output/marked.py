"""Channels of models that write marks around thoughts and tool calls.

Theory of operation. The text is read in one of three states: `text`, `thought`, `call`. In `text` and
in `thought` the next mark is looked for, and an end of the text that may begin a mark is held back.
In `call` the family's parser reads, as a generator that yields None when it needs more text.

Invariants:
- A piece depends on the characters of the text, never on how they were cut into tokens.
- White space around a mark belongs to the mark. So the white space at the end of the text is held
  back until more text shows that no mark follows.
- Text that turns out to be no call is told with the call's failure, and is not read again. The white
  space before it is text.
- A beginning that counts only before a call, such as a brace, is text without a remark if no call follows.
- A call within a thought is part of the thought. If nothing closes the thought, the model forgot the
  mark, and the call counts. So a thought's text from the mark of a call on is held back until one of
  these is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from .channels import Channels
from .pieces import CallEnded, CallFailed, Piece, Text, Thought
from .text import partial_match
from .tool_calls.family import Family, Tools
from .tool_calls.source import SPACE, CutOff, NotACall, OnlyText, Parsing, Source

_WHOLE_TOKEN = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")
State = Literal["text", "thought", "call"]


class ThoughtMarks(NamedTuple):
    """The texts with which a model opens and closes a thought."""

    opening: str
    closing: str


class CallForm(NamedTuple):
    """The form in which calls are written, and the tools that may be called."""

    family: Family
    tools: Tools


class MarkedChannels(Channels):
    """Splits a text at the marks of thoughts and at those of a family's calls.

    ``in_thought`` is True if the prompt has opened a thought. ``formed`` is True if the answer has a
    form: then a mark in it is part of its text, and no thought opens once it has begun.
    """

    def __init__(
        self,
        thoughts: ThoughtMarks | None,
        calls: CallForm | None,
        *,
        in_thought: bool = False,
        formed: bool = False,
    ) -> None:
        self._formed = formed
        self._spaces: list[str] = []
        self._thoughts = thoughts
        self._calls = calls
        self._state: State = "thought" if in_thought else "text"
        self._buffer = ""
        self._space_before_call = ""
        self._loose = self._call_began = False
        self._after_mark = in_thought
        self._wrote = False
        self._ended = False
        self._source = Source()
        self._parsing: Parsing = iter(())
        openings = [] if thoughts is None else [thoughts.opening]
        if calls is not None:
            openings += [*calls.family.openings, *calls.family.loose_openings]
        self._openings = tuple(openings)
        marks = [*openings, *(() if thoughts is None else (thoughts.closing,))]
        firsts = "".join(sorted({re.escape(mark[0]) for mark in marks}))
        self._unclear = re.compile(rf"[{firsts}]|[{SPACE}]\Z")

    @property
    def thinking(self) -> bool:
        """Return True if text that is added now belongs to a thought."""
        return self._state == "thought"

    @property
    def unread(self) -> str:
        """Return the end of the text that may begin a mark."""
        return self._buffer.lstrip(SPACE)

    def add(self, text: str) -> list[Piece]:
        """Take the next text of the answer; return the pieces that are certain now."""
        if not self._buffer and self._state != "call" and not text.strip(SPACE):
            self._spaces.append(text)  # one by one, since a run of white space may be long
            return []
        if self._spaces:
            text = "".join(self._spaces) + text
            self._spaces = []
        if not self._buffer and not self._after_mark and not self._unclear.search(text):
            # Nearly every text. No mark begins in it, and no white space at its end must wait for one.
            if self._state == "text" and self._wrote:
                return [Text(text)]
            if self._state == "thought":
                return [Thought(text)]
        self._buffer += text
        return list(self._pieces())

    def finish(self) -> list[Piece]:
        """Take the end of the answer; return the pieces that were held back."""
        self._ended = True
        self._buffer += "".join(self._spaces)
        self._spaces = []
        if self._state != "call" and self._ends_within_mark():
            self._buffer = self._buffer[: -len(self.unread)]
        return list(self._pieces())

    def _ends_within_mark(self) -> bool:
        """Return True if the text ends within a mark of several tokens, after one of them."""
        unread = self.unread
        return _WHOLE_TOKEN.match(unread) is not None and any(
            len(unread) < len(mark) and mark.startswith(unread) for mark in self._thoughts or ()
        )

    def _pieces(self) -> Iterator[Piece]:
        while True:
            state = self._state
            if state == "call":
                yield from self._read_call()
            elif state == "thought":
                yield from self._read_thought()
            elif (opens := self._opens_with_call()) is None:
                return
            elif opens:
                self._begin_call(len(self._buffer) - len(self._buffer.lstrip(SPACE)))
            else:
                yield from self._read_to(self._marks_of_text())
            if self._state == state:
                return

    def _marks_of_text(self) -> tuple[str, ...]:
        """Return the marks to look for; none within an answer that has a form and has begun."""
        begun = self._buffer.lstrip(SPACE)
        if self._formed and (
            self._wrote
            or not any(
                begun.startswith(mark) or mark.startswith(begun) for mark in self._openings
            )
        ):
            return ()
        return self._openings

    def _read_thought(self) -> Iterator[Piece]:
        """Yield the text of a thought; at the end of the answer also a call that nothing closed."""
        assert self._thoughts is not None
        closing = (self._thoughts.closing,)
        calls = self._calls
        if calls is None:
            yield from self._read_to(closing)
        elif not self._ended:
            yield from self._read_to(closing, until=calls.family.openings)
        else:
            read = MarkedChannels(None, calls)
            at = _first_of(calls.family.openings, self._buffer)
            pieces = read.add(self._buffer[at:]) + read.finish()
            if closing[0] not in self._buffer and CallEnded() in pieces:
                self._buffer = self._buffer[:at]
                yield from self._read_to(closing)
                yield from pieces
            else:
                yield from self._read_to(closing)

    def _read_to(self, marks: tuple[str, ...], until: tuple[str, ...] = ()) -> Iterator[Piece]:
        """Yield the text before the first of the marks, and enter the state that it opens.

        Without one, hold back what follows one of ``until``.
        """
        found = [
            (at, -len(mark), mark) for mark in marks if (at := self._buffer.find(mark)) >= 0
        ]
        if found and not self._longer_mark_may_follow(min(found), marks):
            at, _, mark = min(found)
            before = self._buffer[:at].rstrip(SPACE)
            self._buffer = self._buffer[len(before) :]
            yield from self._piece(before)
            self._enter(mark, at - len(before))
            return
        safe = _first_of(until, self._buffer)
        if not self._ended:
            safe = min(safe, len(self._buffer) - partial_match(self._buffer, *marks, *until))
            safe = len(self._buffer[:safe].rstrip(SPACE))
        elif self._state == "thought":
            self._buffer = self._buffer.rstrip(SPACE)
            safe = len(self._buffer)
        text, self._buffer = self._buffer[:safe], self._buffer[safe:]
        yield from self._piece(text)

    def _longer_mark_may_follow(
        self, found: tuple[int, int, str], marks: tuple[str, ...]
    ) -> bool:
        """Return True if the end of the text may become a longer mark where one was found."""
        rest = self._buffer[found[0] :]
        return not self._ended and any(
            len(mark) > len(rest) and mark.startswith(rest) for mark in marks
        )

    def _piece(self, text: str) -> Iterator[Piece]:
        if self._after_mark:
            text = text.lstrip(SPACE)
        if text:
            self._after_mark = False
            if self._state == "text":
                self._wrote = True
            yield Thought(text) if self._state == "thought" else Text(text)

    def _enter(self, mark: str, spaces: int) -> None:
        """Enter the state that a mark opens; the buffer begins with ``spaces``, then comes the mark."""
        thoughts, calls = self._thoughts, self._calls
        if thoughts is None or (self._state == "text" and mark != thoughts.opening):
            assert calls is not None
            self._begin_call(spaces, loose=mark in calls.family.loose_openings)
            return
        self._buffer = self._buffer[spaces + len(mark) :]
        self._state = "thought" if self._state == "text" else "text"
        self._after_mark = True

    def _opens_with_call(self) -> bool | None:
        """Return True if the answer's first text is a call; None if more text must tell."""
        if self._wrote or self._calls is None:
            return False
        begun = self._buffer.lstrip(SPACE)
        openings = self._calls.family.opens_text
        if any(begun.startswith(opening) for opening in openings):
            return True
        if not self._ended and any(opening.startswith(begun) for opening in openings):
            return None
        return False

    def _begin_call(self, spaces: int, *, loose: bool = False) -> None:
        assert self._calls is not None
        space, self._buffer = self._buffer[:spaces], self._buffer[spaces:]
        self._space_before_call = "" if self._after_mark else space
        self._state = "call"
        self._loose, self._call_began = loose, False
        self._source = Source()
        self._parsing = self._calls.family.parse(self._source, self._calls.tools)

    def _read_call(self) -> Iterator[Piece]:
        source = self._source
        source.add(self._buffer)
        self._buffer = ""
        source.ended = self._ended
        try:
            while (piece := next(self._parsing)) is not None:
                self._call_began = True
                if type(piece) is CallEnded:
                    self._space_before_call = ""
                yield piece
            return
        except StopIteration:
            self._after_mark = True
        except NotACall as problem:
            source.take_something()
            text, space = source.call_text, self._space_before_call
            if isinstance(problem, OnlyText) or (self._loose and not self._call_began):
                yield Text(space + text)
            else:
                yield CallFailed(str(problem), text, isinstance(problem, CutOff), space)
            self._wrote, self._after_mark = True, False
        self._buffer = source.rest
        self._state = "text"


def _first_of(marks: tuple[str, ...], text: str) -> int:
    """Return where the first of the marks begins; the end of the text without one."""
    return min((at for mark in marks if (at := text.find(mark)) >= 0), default=len(text))
