"""How many tokens a text has at least, without cutting it into them.

A prompt of megabytes is tokenized for seconds, and the requests behind it wait: one that can't
fit is refused by this bound. It must never be more than the truth, so it is known only for
tokenizers that drop nothing of a text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from mlx_lm import tokenizer_utils as theirs
from tokenizers import Tokenizer as FastTokenizer

CHUNK_CHARACTERS = 1 << 16
_KEEPING = frozenset({"ByteLevel", "Digits", "Metaspace", "Split"})
"""Pre-tokenizers that only cut."""
_COMPOSED = re.compile(
    "[\x00-\u02ff\u0400-\u0482\u3001-\u3029\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff60]*"
)
"""Characters that NFC leaves as they are, whichever of them follow each other."""


class TokenBound:
    """A tokenizer's bound: of a token with some byte in it, no more bytes than the longest has.

    So each byte is at least one over that length of a token, and these parts can be added up.
    """

    def __init__(self, longest: list[int], *, composes: bool) -> None:
        self._composes = composes
        # In powers of two, rounded up: their sums are exact, and there are few.
        widths = [1 << max(size - 1, 0).bit_length() for size in longest]
        self._classes = [
            (width, bytes(b for b in range(256) if widths[b] == width))
            for width in sorted(set(widths))
        ]

    @classmethod
    def of(cls, fast: FastTokenizer) -> TokenBound | None:
        """None where it is not sure that every character ends in a token of its own bytes."""
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
        """A number of tokens that the text has for sure; counted no further than ``enough``."""
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
        # The first and the last character may belong to what stands beside them.
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
    """Whether it leaves a text as it is, NFC's compositions and SentencePiece's spaces aside."""
    if normalizer["type"] == "Replace":
        return bool(normalizer["pattern"] == {"String": " "} and normalizer["content"] == "▁")
    return normalizer["type"] in ("NFC", "Prepend")


def _by_bytes(vocabulary: Iterable[str]) -> list[tuple[int, bytes]] | None:
    """Tokens whose characters stand for bytes; None where a byte has no token."""
    table: dict[str, int] = theirs._byte_decoder()
    texts = [
        (len(token), bytes(table[c] for c in token))
        for token in vocabulary
        if all(c in table for c in token)
    ]
    alone = {content[0] for size, content in texts if size == 1}
    return texts if len(alone) == 256 else None


def _spelled(token: str) -> tuple[int, bytes]:
    """A token's own bytes; its `▁` may be a space of the text."""
    content = token.encode()
    return len(content), content + (b" " if "▁" in token else b"")


def _longest(texts: Iterable[tuple[int, bytes]]) -> list[int]:
    longest = [1] * 256
    for size, content in texts:
        for byte in set(content):
            longest[byte] = max(longest[byte], size)
    return longest
