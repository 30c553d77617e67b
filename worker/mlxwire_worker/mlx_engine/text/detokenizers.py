"""Converts the tokens of one answer to text, piece by piece as they come.

Theory of operation. The text of an answer is what it adds to the decoded prompt: decode(prompt +
answer) without decode(prompt). So a detokenizer is created with the prompt's ids, and reads from
them what the first tokens of the answer depend on: nothing for most tokens, the bytes of a
character that is not complete, or the last tokens.

The pieces are those of whole decodes, byte for byte, with two exceptions where a whole decode
takes back what an earlier one said:
- Half a character at the end of the prompt. A whole decode of the prompt shows U+FFFD for it. If
  the answer completes the character, the piece is the whole character; otherwise the answer
  does not repeat the U+FFFD. Either way the piece is what follows the common beginning.
- Byte fallback. If a run of byte tokens is not UTF-8, the library makes each of its bytes
  U+FFFD, complete characters too. Here the characters that were complete before stay as sent:
  Llama 2 writes line breaks as byte tokens, and they can't wait for the end of the run.

Invariants: a piece has whole characters only; the bytes or tokens that are held are few, whatever
the model generates; a token costs the same at the end of a long answer as at its beginning.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Sequence

from ...prompts import Detokenizer
from .token_texts import REPLACEMENT, TokenTexts

HELD_TOKENS = 4
"""An in-context decoder's text is held while it may end within a character: of 4 bytes at most."""


def detokenizer_of(texts: TokenTexts, prompt: Sequence[int]) -> Detokenizer:
    """Create the detokenizer of an answer to a prompt, given the prompt's ids."""
    if texts.kind == "byte_level":
        return ByteLevelDetokenizer(texts, prompt)
    if texts.kind == "token_by_token":
        return FallbackDetokenizer(texts, prompt)
    return ContextDetokenizer(texts, prompt)


class _OfTexts(Detokenizer):
    """A detokenizer over the texts of a tokenizer's tokens."""

    __slots__ = ("_texts",)

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts

    def text_of(self, token: int) -> str:
        """Return the text of one token by itself; an incomplete character becomes U+FFFD."""
        return self._texts.text_of(token)


class _Tabled(_OfTexts):
    """A detokenizer whose tokens have texts of their own, but for the bytes of characters.

    ``_pending`` are the bytes of a character that is not complete, and ``_shown`` is how many
    U+FFFD the decoded prompt has for those that the prompt began.
    """

    __slots__ = ("_pending", "_shown")

    def __init__(self, texts: TokenTexts) -> None:
        super().__init__(texts)
        self._pending = b""
        self._shown = 0

    def _new(self, text: str) -> str:
        """Return what a text has beyond the U+FFFD that the decoded prompt has already."""
        known = min(self._shown, len(text) - len(text.lstrip(REPLACEMENT)))
        self._shown = self._shown - known if known == len(text) else 0
        return text[known:]


class ByteLevelDetokenizer(_Tabled):
    """Decodes the bytes of all tokens together as UTF-8."""

    __slots__ = ()

    def __init__(self, texts: TokenTexts, prompt: Sequence[int]) -> None:
        super().__init__(texts)
        tail = b""
        for token in reversed(prompt):
            found = texts[token]
            tail = (found.encode() if isinstance(found, str) else found) + tail
            if len(tail) >= 3:  # the most bytes that an incomplete character has
                break
        _, complete = utf_8_decode(tail, "replace", False)
        self._pending = tail[complete:]
        self._shown = int(bool(self._pending))

    def add_token(self, token: int) -> str:
        """Return the text that this token completes; it may be empty."""
        piece = self._texts[token]
        if not self._pending and isinstance(piece, str):
            return piece
        held = self._pending + (piece.encode() if isinstance(piece, str) else piece)
        text, complete = utf_8_decode(held, "replace", False)
        self._pending = held[complete:]
        return self._new(text) if self._shown else text

    def finalize(self) -> str:
        """Return U+FFFD for a character that was not completed, otherwise an empty text."""
        held, self._pending = self._pending, b""
        return self._new(held.decode("utf-8", "replace"))


class FallbackDetokenizer(_Tabled):
    """Joins the texts of tokens; some tokens are one byte of a character (byte fallback).

    ``_broken`` is True from the byte on with which a run of byte tokens is no UTF-8 to the end of
    the run: each byte is then U+FFFD, as in the library. ``_within`` is True in a run whose next
    text depends on the bytes before.
    """

    __slots__ = ("_broken", "_within")

    def __init__(self, texts: TokenTexts, prompt: Sequence[int]) -> None:
        super().__init__(texts)
        self._broken = False
        self._within = False
        run: list[bytes] = []
        for token in reversed(prompt):
            found = texts[token]
            if isinstance(found, bytes):
                run.append(found)
            elif texts.name_of(token) is not None:
                break
        for byte in reversed(run):
            self._add_byte(byte)
        self._shown = len(self._pending)
        self._within = bool(self._pending or self._broken)

    def add_token(self, token: int) -> str:
        """Return the text that this token completes; it may be empty."""
        piece = self._texts[token]
        if isinstance(piece, bytes):
            text = self._add_byte(piece)
            self._within = bool(self._pending or self._broken or self._shown)
            return text
        if not self._within:
            return piece
        if not piece and self._texts.name_of(token) is None:
            return ""  # an id that no token has: the library leaves it out, and the run goes on
        return self.finalize() + piece

    def finalize(self) -> str:
        """Return U+FFFD for each byte of a character that was not completed."""
        rest = self._drop_pending()
        self._broken = self._within = False
        self._shown = 0
        return rest

    def _add_byte(self, byte: bytes) -> str:
        if self._broken:
            return REPLACEMENT
        self._pending += byte
        try:
            text, complete = utf_8_decode(self._pending, "strict", False)
        except UnicodeDecodeError:
            self._broken = True
            return self._drop_pending()
        if complete:
            self._pending = b""
        return self._new(text) if text else ""

    def _drop_pending(self) -> str:
        held, self._pending = self._pending, b""
        return self._new(REPLACEMENT * len(held))


class ContextDetokenizer(_OfTexts):
    """Compares two decodes by the library: of the tokens before, and with the new ones.

    For decoders whose tokens depend on each other, such as BPE with `</w>`, where a word gets its
    space when the next word follows.
    """

    __slots__ = ("_before", "_held")

    def __init__(self, texts: TokenTexts, prompt: Sequence[int]) -> None:
        super().__init__(texts)
        self._before = [
            name for token in prompt[-HELD_TOKENS:] if (name := texts.name_of(token))
        ]
        self._held: list[str] = []

    def add_token(self, token: int) -> str:
        """Return the text that this token completes; it may be empty."""
        name = self._texts.name_of(token)
        if name is None:
            return ""
        self._held.append(name)
        return self._take(at_end=len(self._held) > HELD_TOKENS)

    def finalize(self) -> str:
        """Return the text that was held back; an incomplete character becomes U+FFFD."""
        return self._take(at_end=True)

    def _take(self, *, at_end: bool) -> str:
        earlier, text = self._texts.text_after(self._before, self._held)
        if text.endswith(REPLACEMENT) and not at_end:
            return ""
        self._before = [*self._before, *self._held][-HELD_TOKENS:]
        self._held = []
        common = len(earlier)
        while not text.startswith(earlier[:common]):
            common -= 1
        return text[common:]
