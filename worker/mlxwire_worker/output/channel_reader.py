"""Converts the tokens of one sequence to pieces of its channels, and counts the tokens of thoughts."""

from __future__ import annotations

from ..prompts import Detokenizer
from .channels import Channels
from .pieces import Piece, Thought


class ChannelReader:
    """Converts token ids to pieces, and counts the tokens that belong to a thought.

    These are the tokens within the thought, white space included. Tokens that only spell a mark do not
    count. So the newest tokens are unclear while they may spell the mark that ends the thought.
    """

    __slots__ = ("_certain", "_channels", "_detokenizer", "_unclear", "in_thought")

    def __init__(self, detokenizer: Detokenizer, channels: Channels) -> None:
        self._detokenizer = detokenizer
        self._channels = channels
        self._certain = 0
        self._unclear: list[int] = []
        """The lengths of the texts of the unclear tokens."""
        self.in_thought = False
        """True if the newest token's text belongs to a thought."""

    @property
    def thinking(self) -> bool:
        """Return True if the next token's text belongs to a thought."""
        return self._channels.thinking

    @property
    def unread(self) -> str:
        """Return the end of the text that may begin a mark, or belongs to one."""
        return self._channels.unread

    @property
    def thought_tokens(self) -> int:
        """Return the number of tokens that belong to thoughts, the unclear ones included."""
        return self._certain + len(self._unclear)

    def add_token(self, token: int) -> list[Piece]:
        """Add a token and return the pieces that are certain now."""
        text = self._detokenizer.add_token(token)
        channels = self._channels
        before = channels.thinking
        pieces = channels.add(text) if text else []
        if pieces:
            self.in_thought = type(pieces[0]) is Thought
        else:
            self.in_thought = before and channels.thinking
        if self._unclear or (self.in_thought and (channels.unread or not channels.thinking)):
            self._count(len(text))
        else:
            self._certain += self.in_thought  # nearly every token
        return pieces

    def finish(self) -> list[Piece]:
        """Take the end of the sequence; return the pieces that were held back."""
        rest = self._detokenizer.finalize()
        pieces = self._channels.add(rest) if rest else []
        return pieces + self._channels.finish()

    def _count(self, length: int) -> None:
        """Count a token with a text of ``length`` characters."""
        channels = self._channels
        if self.in_thought:
            self._unclear.append(length)
        elif not channels.thinking:
            self._unclear = []  # these tokens have spelled the mark
            return
        held = len(channels.unread) if channels.thinking else 0
        first = len(self._unclear)
        while first and 0 < self._unclear[first - 1] <= held:
            first -= 1
            held -= self._unclear[first]
        self._certain += first
        del self._unclear[:first]
