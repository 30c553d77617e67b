"""Lets a thought pass before the form of an answer begins, and ends it when its budget is spent.

Theory of operation. The text tells where a thought begins and ends, read by the same channels as the
answer that the host gets: a model may spell a mark in tokens of other kinds. The state follows from
the generated tokens: `start` until they show if a thought opens, `thought` until the closing mark,
`forced` while they are written in the model's place, and `answer`. The form of the answer sees the
tokens of `answer` alone. Without a form a thought may open again; its tokens count together.

Invariants:
- Where a form accepts the first characters of an opening mark, these tokens are the answer's until the
  mark is whole. Then they are the thought's, and the form begins anew behind it.
- A budget is spent once that many tokens belong to the thought, or may do so. If they have begun to
  spell the mark that ends it, only the rest of that mark is forced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ...output.channel_reader import ChannelReader
from ...output.pieces import Text
from ...prompts import Constraint
from .bits import Bits, set_bit
from .following import unseen
from .thought_tokens import ThoughtTokens

State = Literal["start", "thought", "forced", "answer"]


class ThoughtConstraint(Constraint):
    """A thought of at most ``budget`` tokens, and then an answer of the form ``answer``.

    ``make_reader`` makes a reader of the answer's channels, at the prompt's end. ``message`` are the
    tokens that are written before the closing mark when the budget is spent. ``stop_ids`` end no
    thought if the answer has a form. ``size`` is that of the model's vocabulary.
    """

    def __init__(
        self,
        tokens: ThoughtTokens,
        answer: Constraint | None,
        make_reader: Callable[[], ChannelReader],
        *,
        size: int,
        budget: int | None = None,
        message: tuple[int, ...] = (),
        stop_ids: frozenset[int] = frozenset(),
    ) -> None:
        self._tokens = tokens
        self._answer = answer
        self._make_reader = make_reader
        self._budget = budget
        self._message = message
        self._not_in_thoughts = stop_ids - frozenset(tokens.leaving)
        self._uncrowded = () if answer is None else tokens.uncrowded(size)
        self._restart()

    def _restart(self) -> None:
        self._taken: list[int] = []
        self._reader = self._make_reader()
        self._forced: tuple[int, ...] = ()
        self._instead: tuple[int, ...] = ()
        self._opened: tuple[int, ...] = ()
        self._answer_tokens: list[int] = []
        self._state: State = "start"
        if self._reader.thinking:
            self._think()

    @property
    def formed(self) -> bool:
        """Return True if the answer has a form that the request asked for."""
        return self._answer is not None and self._answer.formed

    @property
    def free(self) -> bool:
        """Return True if any token may come next."""
        if self._state == "forced" or (self._state == "start" and self._budget == 0):
            return False
        return self._answer is None or (self._state == "answer" and self._answer.free)

    @property
    def complete(self) -> bool:
        """Return True if the answer has begun and has its form whole."""
        return self._answer is None or (self._begun and self._answer.complete)

    @property
    def ended(self) -> bool:
        """Return True if the answer is whole and nothing can follow."""
        return self._answer is not None and self._begun and self._answer.ended

    @property
    def _begun(self) -> bool:
        return self._state == "answer" or bool(self._answer_tokens)

    def valid(self, text: str) -> bool | None:
        """Return what the answer's form tells of its text."""
        return None if self._answer is None else self._answer.valid(text)

    def follow(self, generated: list[int], newest: int | None = None) -> None:
        """Take the state after these tokens. Raises: WireError, as the answer's form does."""
        fresh = unseen(self._taken, generated, newest)
        if fresh is None:
            self._restart()
            fresh = unseen((), generated, newest) or []
        for token in fresh:
            self._taken.append(token)
            self._advance(token)
        if self._answer is not None and self._begun:
            self._answer.follow(self._answer_tokens)

    def _advance(self, token: int) -> None:
        if self._state == "answer" and self._answer is not None:
            self._answer_tokens.append(token)  # no thought opens within a form
            return
        pieces = self._reader.add_token(token)
        if self._state == "forced":
            if self._instead[:1] == (token,) != self._forced[:1]:
                self._forced = self._instead
            self._forced, self._instead = self._forced[1:], ()
            if not self._forced:
                self._state = "answer"
        elif self._reader.thinking:
            self._think()
        elif self._state == "thought":
            unread = self._reader.unread
            self._force(() if self._answer is None else self._tokens.heading_after(unread))
        elif self._state == "start":
            self._begin(token, has_text=any(type(piece) is Text for piece in pieces))

    def _think(self) -> None:
        """Note that the next token belongs to a thought, or end one whose budget is spent."""
        self._state = "thought"
        self._answer_tokens = []
        if self._budget is None or self._reader.thought_tokens < self._budget:
            return
        begun = self._reader.unread
        rest = self._tokens.leaving_after(begun) if begun else ()
        if rest and len(begun) > 1:
            self._force(rest)
            return
        # One character, such as `<`, says little, so the model chooses what it was.
        self._force(self._message + self._tokens.leaving)
        self._instead = rest

    def _force(self, tokens: tuple[int, ...]) -> None:
        self._forced = tokens
        self._state = "forced" if tokens else "answer"

    def _begin(self, token: int, *, has_text: bool) -> None:
        """Take a token before it is known if a thought opens."""
        begun = (*self._opened, token)
        if not self._answer_tokens:
            if begun == self._tokens.opening[: len(begun)]:
                self._opened = begun
                return
            if begun == self._tokens.direct[: len(begun)]:
                self._opened = begun
                if begun == self._tokens.direct:
                    self._state = "answer"
                return
        if self._answer is None:
            self._state = "answer"
            return
        self._answer_tokens += begun
        self._opened = ()
        if has_text:
            self._state = "answer"

    def fill(self, row: Bits, address: int) -> None:
        """Set the bits of the tokens that may come next in ``row`` [V / 32], which is at ``address``.

        Raises: WireError, as the answer's form does.
        """
        if self._state == "forced":
            _allow_only(row, self._forced[0])
            for token in self._instead[:1]:
                set_bit(row, token, allowed=True)
        elif self._state == "start" and not self._answer_tokens:
            self._fill_start(row, address)
        elif self._state == "thought":
            if self._answer is not None:
                for token in self._not_in_thoughts:
                    set_bit(row, token, allowed=False)
                place = min(len(self._reader.unread), len(self._uncrowded) - 1)
                row &= self._uncrowded[place]
        elif self._answer is not None:
            self._answer.fill(row, address)

    def _fill_start(self, row: Bits, address: int) -> None:
        tokens, answer = self._tokens, self._answer
        begun = self._opened
        at = len(begun)
        opens = begun == tokens.opening[:at] and at < len(tokens.opening) and self._budget != 0
        if tokens.direct and (answer is not None or self._budget == 0):
            _allow_only(row, tokens.direct[at] if begun == tokens.direct[:at] else None)
        elif answer is not None and at:
            _allow_only(row, None)
        elif answer is not None:
            answer.fill(row, address)
        elif self._budget == 0 and tokens.opening:
            set_bit(row, tokens.opening[0], allowed=False)
        if opens:
            set_bit(row, tokens.opening[at], allowed=True)


def _allow_only(row: Bits, token: int | None) -> None:
    row[:] = 0
    if token is not None:
        set_bit(row, token, allowed=True)
