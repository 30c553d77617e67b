"""Generated text on its way out: stop strings, with what may begin one held back.

Matching is on text, so a stop string is found however the model cut it into tokens.
"""

from __future__ import annotations

from ..engine import Detokenizer


class TextAssembler:
    """One sequence's token ids as pieces that are safe to send.

    The pieces concatenate to the text up to the first stop string that a token after the first
    ``min_tokens`` completes; one that is complete before is text, as with vLLM.
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
        """The piece that this token makes safe. ``stopped`` is set where a stop string ended."""
        piece = self._detokenizer.add_token(token)
        if not self._stops:
            return piece
        self._tokens += 1
        return self._release(piece, at_end=False)

    def finish(self) -> str:
        """What was held back, at an end that is not a stop string's."""
        if self.stopped:
            return ""
        rest = self._detokenizer.finalize()
        return self._release(rest, at_end=True) if self._stops else rest

    def _release(self, piece: str, *, at_end: bool) -> str:
        text = self._held + piece
        # The first to be complete wins, so that the cut into tokens decides nothing. What is
        # held has none, unless it came too early.
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
        """Length of the longest end of ``text`` that begins a stop string."""
        for size in range(min(self._hold, len(text)), 0, -1):
            end = text[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return size
        return 0
