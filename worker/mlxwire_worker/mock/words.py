"""The mock's tokens: words, each with the space before it, and a hash of the word as its id."""

from __future__ import annotations

import re
import zlib

from ..prompts import Detokenizer

VOCABULARY = 65536
EOS = 0
_WORD = re.compile(r"\s*\S+|\s+$")


class Words:
    """Maps words to token ids and back. Two words never share an id."""

    def __init__(self) -> None:
        self._by_id: dict[int, str] = {}

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text's words."""
        return [self.token_id(word) for word in _WORD.findall(text)]

    def token_id(self, word: str) -> int:
        """Return a word's id; a new word gets the first free id from its hash upwards."""
        token_id = 1 + zlib.crc32(word.encode("utf-8", "replace")) % (VOCABULARY - 1)
        while self._by_id.setdefault(token_id, word) != word:
            token_id = 1 + token_id % (VOCABULARY - 1)
        return token_id

    def text_of(self, token_id: int) -> str:
        """Return a word by its id; empty for an id that no word has."""
        return self._by_id.get(token_id, "")


class WordDetokenizer(Detokenizer):
    """Returns a word for each token, and holds nothing back."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def add_token(self, token: int) -> str:
        """Return the word."""
        return self._words.text_of(token)

    def text_of(self, token: int) -> str:
        """Return the word."""
        return self._words.text_of(token)

    def finalize(self) -> str:
        """Return an empty text."""
        return ""
