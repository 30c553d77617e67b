"""The marks around a model's thoughts, as texts and as token ids."""

from __future__ import annotations

from collections.abc import Iterator

from ...output.tool_calls.source import SPACE
from ..text.tokenizer import Tokenizer
from .bits import Bits, bits_of


class ThoughtTokens:
    """The tokens that open a thought, and those that end one which is cut short.

    ``direct`` are those with which an answer without a thought begins, if it begins with any.
    ``closing`` is the text that ends a thought, and ``heading`` the text from there to the answer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        opening: tuple[int, ...],
        closing: str,
        direct: tuple[int, ...] = (),
        heading: str = "",
    ) -> None:
        self.opening = opening
        self.direct = direct
        self._tokenizer = tokenizer
        self._closing = closing
        self._heading = heading
        self.leaving = self._spelled(closing + heading)
        """The tokens from the end of a thought to the first token of the answer."""
        self._uncrowded: tuple[Bits, ...] | None = None

    def leaving_after(self, begun: str) -> tuple[int, ...]:
        """Return the tokens of `leaving` without the first characters of the mark, ``begun``.

        The result is empty if the mark does not begin so, or if no tokens spell the rest alone.
        """
        if not self._closing.startswith(begun):
            return ()
        return self._spelled((self._closing + self._heading)[len(begun) :])

    def heading_after(self, begun: str) -> tuple[int, ...]:
        """Return the tokens of the heading behind its part ``begun``; all of them without it."""
        place = self._heading.find(begun)
        return self._spelled(self._heading[place + len(begun) if place >= 0 else 0 :])

    def uncrowded(self, size: int) -> tuple[Bits, ...]:
        """Return the bits of the tokens in which no answer's text follows the end of a thought.

        From any other token the form would miss the beginning of the answer. Row n, each
        [``size`` / 32], is for a token behind the first n characters of the mark; ``size`` is that
        of the model's vocabulary.
        """
        if self._uncrowded is None:
            mark = self._closing
            texts = list(self._texts_with_more(size))
            self._uncrowded = tuple(
                ~bits_of(
                    (token for token, text in texts if _crowds(mark[:n] + text, mark)), size
                )
                for n in range(len(mark))
            )
        return self._uncrowded

    def _texts_with_more(self, size: int) -> Iterator[tuple[int, str]]:
        """Yield the tokens in which something follows the last character of the mark."""
        last = self._closing[-1]
        for piece, token in self._tokenizer.pieces.items():
            if last in piece[:-1] and token < size:
                yield token, self._tokenizer.text_of(token)

    def _spelled(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text within another; none if it can't be written so."""
        ids = self._tokenizer.encode(text, add_special_tokens=False) if text else []
        written = "".join(map(self._tokenizer.text_of, ids))
        return tuple(ids) if written == text else ()


def _crowds(text: str, mark: str) -> bool:
    """Return True if more than white space follows the mark in a text."""
    _, found, after = text.partition(mark)
    return bool(found and after.strip(SPACE))
