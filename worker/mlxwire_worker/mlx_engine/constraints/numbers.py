"""Keeps numbers in JSON within what a host's parser accepts: no 1e999, and no thousand digits.

Neither JSON nor llguidance's grammars limit a number. Python reads 1e999 as infinity, which JSON can't
hold, and Go's parser refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .bits import Bits, bits_of

_MOST_DIGITS = 200
"""With an exponent of two digits such a number is below 1e308, the largest of 64-bit floats."""
_MOST_OF_EXPONENT = 2
_RUN = re.compile(r"[-+.0-9eE]+$")
_NUMBER = re.compile(r"-?([0-9]+)(?:\.([0-9]*))?(?:[eE][-+]?([0-9]*))?")
_DIGITS = re.compile(r"[0-9]+")
_LETTER = re.compile("[a-df-zA-DF-Z]")
_BYTE = re.compile(r"<0x(3[0-9])>")


class _Run(NamedTuple):
    """The end of a token that can be a part of a number; ``whole`` is True if nothing precedes it."""

    text: str
    whole: bool


class NumberTokens:
    """The tokens of a vocabulary of ``size`` that numbers consist of, by their pieces."""

    def __init__(self, pieces: Mapping[str, int], size: int) -> None:
        texts = {token: _text(piece) for piece, token in pieces.items()}
        self.runs = {
            token: _Run(found[0], found[0] == text)
            for token, text in texts.items()
            if (found := _RUN.search(text))
        }
        leading = {
            token: found.end()
            for token, text in texts.items()
            if (found := _DIGITS.match(text))
        }
        self.with_digits = [
            bits_of((token for token, digits in leading.items() if digits >= least), size)
            for least in range(1, _MOST_OF_EXPONENT + 2)
        ]
        """Row n has the tokens that begin with n + 1 digits or more."""
        letters = (token for token, text in texts.items() if _LETTER.fullmatch(text))
        self.letters = bits_of(letters, size)
        """The tokens of one letter that no number has."""


def _text(piece: str) -> str:
    byte = _BYTE.fullmatch(piece)
    return piece if byte is None else chr(int(byte[1], 16))


class NumberLimit:
    """Follows the tokens of one text, and tells which may not continue a number."""

    def __init__(self, tokens: NumberTokens) -> None:
        self._tokens = tokens
        self._number = ""

    def restart(self) -> None:
        """Return to the beginning of the text."""
        self._number = ""

    def follow(self, token: int) -> None:
        """Take the next token of the text."""
        run = self._tokens.runs.get(token)
        if run is None:
            self._number = ""
        else:
            self._number = self._number + run.text if run.whole else run.text

    def limit(self, row: Bits) -> None:
        """Clear the bits of the tokens with which the number becomes too large.

        Where a letter may come next, the digits are those of a string, so nothing is cleared; nor
        if no token would be left.
        """
        if not self._number or (found := _NUMBER.fullmatch(self._number)) is None:
            return
        whole, fraction, exponent = found.groups()
        if exponent is not None:
            digits = self._tokens.with_digits[max(0, _MOST_OF_EXPONENT - len(exponent))]
        elif len(whole if fraction is None else fraction) >= _MOST_DIGITS:
            digits = self._tokens.with_digits[0]
        else:
            return
        if not (row & self._tokens.letters).any() and (limited := row & ~digits).any():
            row[:] = limited
