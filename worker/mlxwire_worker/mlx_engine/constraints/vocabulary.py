"""The model's vocabulary as llguidance reads it; made once for each model, at its first use.

llguidance writes forced text with the tokens that the tokenizer finds for it, but lets no control
token stand for text. So it gets a tokenizer in which control tokens have names that no text spells:
a schema's `{"const": "<think>"}` is then written in ordinary tokens.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from functools import cached_property

import msgspec
from llguidance import LLTokenizer
from tokenizers import AddedToken

from ..text.control_names import is_control
from ..text.control_tokens import renamed_tokens
from ..text.tokenizer import Tokenizer
from .numbers import NumberTokens

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
_GIVEN = re.compile("<[0-9a-f]{32}:([0-9]+)>")
_NAMED = re.compile(r'"(?:[^"\\\n]|\\.)*"|/(?:[^/\\\n]|\\.)+/|(?:#|//)[^\n]*|(<[^<>\s]+>)')
"""Strings, expressions and comments of Lark, and as group 1 the name of a control token."""


class Vocabulary:
    """The tokens that a model can generate: ``size`` ids, of which ``eos_ids`` end a text."""

    def __init__(self, tokenizer: Tokenizer, size: int, eos_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self.size = size
        self.eos_ids = frozenset(eos_ids)
        # llguidance needs an end of text: without one, the model's last id stands for it.
        ends = sorted(self.eos_ids) or [size - 1]
        self._hidden = {
            token.content: number
            for number, token in tokenizer.added.items()
            if _is_no_text(token)
        }
        self.tokens = LLTokenizer(
            _with_names(tokenizer.as_json(), self._hidden), n_vocab=size, eos_token=ends
        )

    @cached_property
    def numbers(self) -> NumberTokens:
        """Return the tokens that numbers consist of."""
        pieces = self._tokenizer.pieces
        return NumberTokens(
            {text: n for text, n in pieces.items() if text not in self._hidden}, self.size
        )

    def with_ids(self, lark: str) -> str:
        """Return a Lark grammar that names its control tokens, such as `<think>`, by their ids."""

        def written(found: re.Match[str]) -> str:
            number = self._hidden.get(found[1]) if found[1] else None
            return found[0] if number is None else f"<[{number}]>"

        return _NAMED.sub(written, lark)

    def in_names(self, problem: str) -> str:
        """Return an error of llguidance with the names that the model's tokenizer gives its tokens."""

        def named(found: re.Match[str]) -> str:
            return self._tokenizer.added[int(found[1])].content

        return _GIVEN.sub(named, problem)


def _is_no_text(token: AddedToken) -> bool:
    """Return True for a token that stands for no text: a control token, or one in angle brackets.

    llguidance itself takes the latter for special.
    """
    text = token.content
    in_brackets = text.startswith("<") and text.endswith(">") and not _BYTE.fullmatch(text)
    return in_brackets or is_control(token)


def _with_names(tokenizer: str, hidden: dict[str, int]) -> str:
    """Return a tokenizer.json in which the hidden tokens have random names, and the ids of before."""
    nonce = secrets.token_hex(16)
    names = {text: f"<{nonce}:{number}>" for text, number in hidden.items()}
    state = renamed_tokens(msgspec.json.decode(tokenizer), names)
    return msgspec.json.encode(state).decode()
