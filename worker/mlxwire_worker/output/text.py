"""Converts tokens to text pieces, and ends the text at a stop string.

Text that may be the beginning of a stop string is held back. Stop strings are matched in text,
so a stop string is found in any split into tokens.
"""

from __future__ import annotations

from ..prompts import Detokenizer
from .channel_reader import ChannelReader
from .pieces import CallFailed, Piece, Text


class StopStrings:
    """Ends a text before the first stop string that is completed after ``min_tokens`` tokens.

    A stop string that is completed earlier is ordinary text, as in vLLM. ``found`` is True once a
    stop string has ended the text.
    """

    __slots__ = ("_held", "_min_tokens", "_stops", "found")

    def __init__(self, stops: tuple[str, ...], min_tokens: int) -> None:
        self._stops = stops
        self._min_tokens = min_tokens
        self._held = ""
        self.found = False

    def release(self, piece: str, tokens: int, *, at_end: bool = False) -> str:
        """Take the text of token number ``tokens``, from 1; return the text that can be sent now.

        Nothing is held back ``at_end``.
        """
        if not self._stops:
            return piece
        text = self._held + piece
        # The stop string that is completed first wins, so the split into tokens does not matter.
        # The held text contains none, except one that was completed before `min_tokens`.
        found = [
            (index + len(stop), index)
            for stop in self._stops
            if (index := text.find(stop, max(len(self._held) - len(stop) + 1, 0))) >= 0
        ]
        if found and not 0 < tokens <= self._min_tokens:
            self.found = True
            self._held = ""
            return text[: min(found)[1]]
        keep = 0 if at_end else partial_match(text, *self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


class TextAssembler:
    """Turns the token ids of one sequence into pieces of text that are safe to send.

    The pieces add up to the text before a stop string. ``stopped`` is True once one has ended it.
    """

    __slots__ = ("_detokenizer", "_plain", "_stops", "_tokens")

    def __init__(
        self, detokenizer: Detokenizer, stops: tuple[str, ...], min_tokens: int = 0
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops, min_tokens)
        self._plain = not stops
        self._tokens = 0

    @property
    def stopped(self) -> bool:
        """Return True if a stop string has ended the text."""
        return self._stops.found

    def add_token(self, token: int) -> str:
        """Add a token and return the text that can be sent now; set ``stopped`` at a stop string."""
        piece = self._detokenizer.add_token(token)
        if self._plain:
            return piece
        self._tokens += 1
        return self._stops.release(piece, self._tokens)

    def finish(self) -> str:
        """Return the text that was held back; empty after a stop string."""
        if self._stops.found:
            return ""
        rest = self._detokenizer.finalize()
        return rest if self._plain else self._stops.release(rest, self._tokens, at_end=True)


class ChannelAssembler:
    """Turns the token ids of one sequence into pieces of its channels that are safe to send.

    Stop strings are looked for in the answer's text alone: not in thoughts, marks and tool calls.
    ``stopped`` is True once one has ended the answer.
    """

    __slots__ = ("_plain", "_reader", "_stops", "_tokens")

    def __init__(self, reader: ChannelReader, stops: tuple[str, ...], min_tokens: int) -> None:
        self._reader = reader
        self._stops = StopStrings(stops, min_tokens)
        self._plain = not stops
        self._tokens = 0

    @property
    def stopped(self) -> bool:
        """Return True if a stop string has ended the answer."""
        return self._stops.found

    def add_token(self, token: int) -> list[Piece]:
        """Add a token and return the pieces that are certain now."""
        self._tokens += 1
        pieces = self._reader.add_token(token)
        return self._released(pieces) if pieces else []

    def finish(self, *, cut_off: bool = False) -> list[Piece]:
        """Return the pieces that were held back; none after a stop string.

        ``cut_off`` is True if the text of a call that is not whole is no part of the answer.
        """
        if self._stops.found:
            return []
        released = self._released(self._reader.finish(), cut_off=cut_off)
        if not self._stops.found and (held := self._release("", at_end=True)):
            released.append(Text(held))
        return released

    def _release(self, text: str, *, at_end: bool = False) -> str:
        """Take text of the answer; return what can be sent now, before a stop string."""
        return self._stops.release(text, self._tokens, at_end=at_end)

    def _released(self, pieces: list[Piece], *, cut_off: bool = False) -> list[Piece]:
        """Return the pieces up to a stop string, without text that may be the beginning of one.

        The text of a failed call follows its failure.
        """
        if self._plain and not any(isinstance(piece, CallFailed) for piece in pieces):
            return pieces
        released: list[Piece] = []
        for piece in pieces:
            if self._stops.found:
                break
            if not isinstance(piece, Text):
                released.append(piece)
            if not isinstance(piece, Text | CallFailed):
                continue
            if isinstance(piece, CallFailed) and piece.cut_off and cut_off:
                continue
            space = "" if isinstance(piece, Text) else piece.space_before
            if text := self._release(space + piece.text):
                released.append(Text(text))
        return released


def partial_match(text: str, *marks: str) -> int:
    """Return the length of the longest end of a text with which one of the marks begins."""
    longest = max(map(len, marks), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        end = text[-size:]
        if any(mark.startswith(end) for mark in marks):
            return size
    return 0
