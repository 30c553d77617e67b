"""Finds the ids of texts behind a prompt, as the tokenizer writes prompt and text together.

Theory of operation. A tokenizer reads a text by itself otherwise than behind a prompt: it may write a
space before it, or join the prompt's last characters with its first. So each ending is tokenized with
the prompt's last words before it, and compared with the ids of these words. Where an ending changes
some of the prompt's last ids, the endings of all texts begin before these, so that all follow the same
ids and their probabilities can be compared.

Only the last words are tokenized once for each text, since prompts are long. They must give the
prompt's last ids, and more of them than an ending changes; otherwise the whole prompt is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...passes import Endings
from ..cache.prefix_tree import common_prefix
from .tokenizer import Tokenizer

_LAST_CHARACTERS = 24
_SPARE_IDS = 2
"""The ids that must agree before those that an ending changes: they show that the cut did no harm."""


class Continuations:
    """The endings of prompts for some texts, with one tokenizer. The prepare thread uses it."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = texts
        self._apart = Endings(tuple(tuple(self._encode(text)) for text in texts))
        self._known: dict[str, tuple[list[int], Endings]] = {}

    @property
    def apart(self) -> Endings:
        """Return the ids of each text by itself, which follow a prompt that can't be joined."""
        return self._apart

    def after(self, prompt: str, ids: list[int]) -> Endings:
        """Return the ids of each text behind a prompt with these ids."""
        if not self._texts:
            return self._apart
        for words in dict.fromkeys((_last_words(prompt), prompt)):
            if words not in self._known:
                self._known[words] = self._joined(words)
            own, endings = self._known[words]
            agreeing = common_prefix(own[::-1], ids[-len(own) :][::-1])
            spare = 0 if agreeing == len(own) else _SPARE_IDS
            if endings.replaced + spare <= agreeing and endings.replaced < len(ids):
                return endings if all(endings.labels) else self._apart
        return self._apart

    def _joined(self, words: str) -> tuple[list[int], Endings]:
        """Return the ids of some words, and the endings behind them."""
        own, *joined = map(self._encode, [words, *(words + text for text in self._texts)])
        kept = min(common_prefix(own, each) for each in joined)
        return own, Endings(tuple(tuple(each[kept:]) for each in joined), len(own) - kept)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


def _last_words(prompt: str) -> str:
    """Return a prompt's end, from the beginning of a word if there is one."""
    end = prompt[-_LAST_CHARACTERS:]
    if len(end) == len(prompt):
        return prompt
    _, space, words = end.partition(" ")
    return words if space and words.strip() else end
