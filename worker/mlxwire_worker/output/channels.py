"""Splits the text of an answer into channels: the answer itself, thoughts and tool calls."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .pieces import Piece


class Channels(ABC):
    """Splits one sequence's text. The pieces do not depend on how the text was cut into tokens.

    Marks, and the white space around them, belong to no piece.
    """

    @property
    @abstractmethod
    def thinking(self) -> bool:
        """Return True if text that is added now belongs to a thought."""

    @property
    @abstractmethod
    def unread(self) -> str:
        """Return the end of the text that may begin a mark, or belongs to one that is not whole."""

    @abstractmethod
    def add(self, text: str) -> list[Piece]:
        """Take the next text of the answer; return the pieces that are certain now."""

    @abstractmethod
    def finish(self) -> list[Piece]:
        """Take the end of the answer; return the pieces that were held back."""
