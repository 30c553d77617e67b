"""Gives each token of a tokenizer its text as it reads within a text, not at its beginning.

A decoder treats the first token of a text differently: Llama 2's takes a space away, WordPiece
and Metaspace put none before it. An answer follows a prompt, so none of its tokens is the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

from tokenizers import Tokenizer as FastTokenizer

from .fast_tokenizer import panics_as_errors

DecoderKind = Literal["byte_level", "token_by_token", "in_context"]
"""Three ways in which a decoder makes the text of a token:

- ``byte_level``: a token is bytes, and the text is all bytes decoded as UTF-8.
- ``token_by_token``: a token has its own text, or is one byte of a character (byte fallback).
- ``in_context``: any other decoder; only the library knows.
"""

REPLACEMENT = "\ufffd"
_OPENING = "\x02"
"""Stands for the text before a token. No decoder changes it, and no token equals it."""
_OF_ONE_TOKEN = frozenset({"Replace", "WordPiece", "Metaspace", "Strip"})
"""Decoder steps that change each token by itself, as long as no `Fuse` has joined the tokens."""

_BYTE_TOKEN = re.compile(r"<0x(\+[0-9A-Fa-f]|[0-9A-Fa-f]{2})>")


def bytes_by_character() -> dict[str, int]:
    """Return the alphabet of byte-level BPE: the character that stands for each byte (GPT-2)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


_BYTE_OF = bytes_by_character()


def decoder_steps(fast: FastTokenizer) -> list[dict[str, Any]]:
    """Return the steps of a tokenizer's decoder in order; empty without a decoder."""
    if fast.decoder is None:
        return []
    # Not the whole of tokenizer.json, which takes a second to write for a large vocabulary.
    return _flat(json.loads(fast.decoder.__getstate__()))


def kind_of(steps: list[dict[str, Any]]) -> DecoderKind:
    """Return how the texts of a decoder's tokens depend on each other."""
    names = [step["type"] for step in steps]
    if names and names[0] == "ByteLevel" and set(names[1:]) <= {"Fuse"}:
        return "byte_level"
    joined = False
    fallback = False
    for step in steps:
        name = step["type"]
        if name == "Fuse":
            joined = True
        elif name == "ByteFallback" and not joined and not fallback:
            fallback = True
        elif name == "Strip" and joined and not step["stop"]:
            continue  # it takes characters from the beginning of the whole text alone
        elif name not in _OF_ONE_TOKEN or joined or fallback:
            return "in_context"
    return "token_by_token"


class TokenTexts(dict[int, "str | bytes"]):
    """The text of each token id, or its bytes where these are no whole characters.

    A text is computed at its first use. Several threads may do that for the same id: they store
    equal texts.
    """

    def __init__(self, fast: FastTokenizer, size: int) -> None:
        super().__init__()
        self._fast = fast
        self._size = size
        steps = decoder_steps(fast)
        self.kind = kind_of(steps)
        self._fallback = any(step["type"] == "ByteFallback" for step in steps)
        self._join: Callable[[list[str]], str] = (
            fast.decoder.decode if fast.decoder is not None else " ".join
        )

    def __missing__(self, token: int) -> str | bytes:
        name = self.name_of(token)
        found = "" if name is None else self._found(name)
        if 0 <= token < self._size:
            self[token] = found
        return found

    def text_of(self, token: int) -> str:
        """Return the text of one token; an incomplete character becomes U+FFFD."""
        found = self[token]
        return found if isinstance(found, str) else found.decode("utf-8", "replace")

    def name_of(self, token: int) -> str | None:
        """Return a token as the vocabulary writes it, None for an id that no token has."""
        if not 0 <= token < self._size:
            return None
        name: str | None = self._fast.id_to_token(token)
        return name

    def text_after(self, before: list[str], names: list[str]) -> tuple[str, str]:
        """Return the text of ``before``, and that of ``before`` and ``names`` together.

        Both begin with the same stand-in for the text before them.
        """
        with panics_as_errors():
            return self._join([_OPENING, *before]), self._join([_OPENING, *before, *names])

    def _found(self, name: str) -> str | bytes:
        if self.kind == "byte_level":
            return _whole(_spelled(name))
        if self.kind == "token_by_token" and self._fallback:
            byte = _byte_of(name)
            if byte is not None:
                return byte
        opening, both = self.text_after([], [name])
        return both[len(opening) :] if both.startswith(opening) else both


def _flat(step: dict[str, Any]) -> list[dict[str, Any]]:
    if step["type"] == "Sequence":
        return [part for child in step["decoders"] for part in _flat(child)]
    return [step]


def _spelled(name: str) -> bytes:
    """Return the bytes that a byte-level decoder gives a token; added tokens are plain text."""
    spelled = [_BYTE_OF.get(character) for character in name]
    return name.encode() if None in spelled else bytes(b for b in spelled if b is not None)


def _whole(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _byte_of(name: str) -> bytes | None:
    """Return the byte of a token such as ``<0x0A>``, None for any other token."""
    found = _BYTE_TOKEN.fullmatch(name)
    return bytes([int(found[1], 16)]) if found else None
