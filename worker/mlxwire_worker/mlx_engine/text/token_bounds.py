"""Computes a lower bound of a text's number of tokens without tokenizing it.

Tokenizing a prompt of megabytes takes seconds, and the requests behind it wait; a prompt whose
bound exceeds the context is refused first. The bound must never exceed the true number, so it
exists only for tokenizers that keep every character of a text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from .token_texts import bytes_by_character

CHUNK_CHARACTERS = 1 << 16
_KEEPING = frozenset({"ByteLevel", "Digits", "Metaspace", "Split"})
"""Pre-tokenizers that split a text and drop nothing of it."""
_COMPOSED = re.compile(
    "[\x00-\u02ff\u0400-\u0482\u3001-\u3029\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff60]*"
)
"""Matches characters that NFC does not change, in whatever order they follow each other."""


class TokenBound:
    """The lower bound for one tokenizer.

    ``longest[b]`` is the length in bytes of the longest token that contains byte ``b``. Each
    occurrence of ``b`` in a text is therefore at least 1 / ``longest[b]`` of a token, and the sum over
    all bytes is a lower bound of the number of tokens.
    """

    def __init__(self, longest: list[int], *, composes: bool) -> None:
        self._composes = composes
        # Rounded up to powers of two: the sums are exact, and there are few distinct lengths.
        widths = [1 << max(size - 1, 0).bit_length() for size in longest]
        self._classes = [
            (width, bytes(b for b in range(256) if widths[b] == width))
            for width in sorted(set(widths))
        ]

    @classmethod
    def of(cls, fast: FastTokenizer) -> TokenBound | None:
        """Create the bound of a tokenizer; None if it may drop or change characters of a text."""
        state: dict[str, Any] = json.loads(fast.to_str())
        steps = {step["type"] for step in _steps(state["normalizer"], "normalizers")}
        cuts = _steps(state["pre_tokenizer"], "pretokenizers")
        model, added = state["model"], state["added_tokens"]
        if (
            model["type"] != "BPE"
            or not all(map(_keeps, _steps(state["normalizer"], "normalizers")))
            or any(cut["type"] not in _KEEPING for cut in cuts)
            or any(cut.get("behavior") == "Removed" for cut in cuts)
            or any(token["lstrip"] or token["rstrip"] for token in added)
            or not all(unicodedata.is_normalized("NFC", token["content"]) for token in added)
        ):
            return None
        vocabulary = model["vocab"]
        if any(cut["type"] == "ByteLevel" for cut in cuts):
            texts = _by_bytes(vocabulary)
        elif model.get("byte_fallback") and all(
            f"<0x{b:02X}>" in vocabulary for b in range(256)
        ):
            texts = [_spelled(token) for token in vocabulary]
        else:
            texts = None
        if texts is None:
            return None
        names = [_spelled(token["content"]) for token in added]
        return cls(_longest([*texts, *names]), composes="NFC" in steps)

    def at_least(self, text: str, enough: int) -> int:
        """Return a number of tokens that a text has at least; stop counting after ``enough``."""
        tokens = 0.0
        for start in range(0, len(text), CHUNK_CHARACTERS):
            if tokens > enough:
                break
            tokens += self._of_chunk(text[start : start + CHUNK_CHARACTERS])
        return int(tokens)

    def _of_chunk(self, chunk: str) -> float:
        if self._composes and not _COMPOSED.fullmatch(chunk):
            return 0.0
        left = chunk.encode("utf-8", "replace")
        # The first and the last character may be in tokens that cross the chunk's ends.
        tokens = -8.0
        for width, members in self._classes:
            rest = left.translate(None, members)
            tokens += (len(left) - len(rest)) / width
            left = rest
        return max(tokens, 0.0)


def _steps(part: Any, inner: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [step for child in part[inner] for step in _steps(child, inner)]
    return [part]


def _keeps(normalizer: dict[str, Any]) -> bool:
    """Return True for a normalizer that keeps a text, except for NFC and SentencePiece's spaces."""
    if normalizer["type"] == "Replace":
        return bool(normalizer["pattern"] == {"String": " "} and normalizer["content"] == "▁")
    return normalizer["type"] in ("NFC", "Prepend")


def _by_bytes(vocabulary: Iterable[str]) -> list[tuple[int, bytes]] | None:
    """Return (length, bytes) of each token of a byte-level vocabulary; None if a byte has none."""
    table = bytes_by_character()
    texts = [
        (len(token), bytes(table[c] for c in token))
        for token in vocabulary
        if all(c in table for c in token)
    ]
    alone = {content[0] for size, content in texts if size == 1}
    return texts if len(alone) == 256 else None


def _spelled(token: str) -> tuple[int, bytes]:
    """Return a token's length and bytes; a space counts as contained if the token has a `▁`."""
    content = token.encode()
    return len(content), content + (b" " if "▁" in token else b"")


def _longest(texts: Iterable[tuple[int, bytes]]) -> list[int]:
    longest = [1] * 256
    for size, content in texts:
        for byte in set(content):
            longest[byte] = max(longest[byte], size)
    return longest
