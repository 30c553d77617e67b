"""The model's vocabulary as llguidance reads it; made once for each model, at its first use."""

from __future__ import annotations

from collections.abc import Iterable

from llguidance import LLTokenizer

from ..text.tokenizer import Tokenizer


class Vocabulary:
    """The tokens that a model can generate: ``size`` ids, of which ``eos_ids`` end a text."""

    def __init__(self, tokenizer: Tokenizer, size: int, eos_ids: Iterable[int]) -> None:
        self.size = size
        self.eos_ids = frozenset(eos_ids)
        # A text without an end of its own: the id past the tokenizer's last one stands for it.
        ends = sorted(self.eos_ids) or [size - 1]
        self.tokens = LLTokenizer(tokenizer.as_json(), n_vocab=size, eos_token=ends)
