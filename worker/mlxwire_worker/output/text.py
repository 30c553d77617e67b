"""Converts tokens to text pieces, and ends the text at a stop string.

Text that may be the beginning of a stop string is held back. Stop strings are matched in text,
so a stop string is found in any split into tokens.
"""

from __future__ import annotations

from ..prompts import Detokenizer


class TextAssembler:
    """Turns the token ids of one sequence into pieces of text that are safe to send.

    The pieces add up to the text before the first stop string that is completed after
    ``min_tokens`` tokens. A stop string that is completed earlier is ordinary text, as in vLLM.
    ``stopped`` is True once a stop string has ended the text.
    """

    __slots__ = (
        "_detokenizer",
        "_held",
        "_hold",
        "_min_tokens",
        "_stops",
        "_tokens",
        "stopped",
    )

    def __init__(
        self, detokenizer: Detokenizer, stops: tuple[str, ...], min_tokens: int = 0
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = stops
        self._min_tokens = min_tokens
        self._tokens = 0
        self._hold = max(map(len, stops), default=1) - 1
        self._held = ""
        self.stopped = False

    def add_token(self, token: int) -> str:
        """Add a token and return the text that can be sent now; set ``stopped`` at a stop string."""
        piece = self._detokenizer.add_token(token)
        if not self._stops:
            return piece
        self._tokens += 1
        return self._release(piece, at_end=False)

    def finish(self) -> str:
        """Return the text that was held back; empty after a stop string."""
        if self.stopped:
            return ""
        rest = self._detokenizer.finalize()
        return self._release(rest, at_end=True) if self._stops else rest

    def _release(self, piece: str, *, at_end: bool) -> str:
        text = self._held + piece
        # The stop string that is completed first wins, so the split into tokens does not matter.
        # The held text contains none, except one that was completed before `min_tokens`.
        found = [
            (index + len(stop), index)
            for stop in self._stops
            if (index := text.find(stop, max(len(self._held) - len(stop) + 1, 0))) >= 0
        ]
        if found and not 0 < self._tokens <= self._min_tokens:
            self.stopped = True
            self._held = ""
            return text[: min(found)[1]]
        keep = 0 if at_end else self._partial_match(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _partial_match(self, text: str) -> int:
        """Return the length of the longest end of ``text`` with which a stop string begins."""
        for size in range(min(self._hold, len(text)), 0, -1):
            end = text[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return size
        return 0
