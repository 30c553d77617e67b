"""Finds the tokens with which a chat template ends a turn of the assistant.

Folders declare some of a model's end-of-text tokens, or only that of the model before its training for
chats. What the template writes behind an assistant's turn, the model writes there too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..text.control_names import in_answers
from ..text.tokenizer import Tokenizer

_HARMONY = ("<|return|>", "<|call|>")
"""The template writes `<|end|>` behind an earlier answer, which ends a thought as well."""
_NAMED = re.compile(r"\w")


def turn_ends(
    behind: Iterable[str], tokenizer: Tokenizer, within: Iterable[str]
) -> frozenset[int]:
    """Return the first token in each text that ends a turn.

    ``behind`` are texts that the template writes behind turns. ``within`` are the marks of the model's
    answers: a token that is part of one ends no turn.
    """
    names = {number: token for token, number in tokenizer.added_ids.items()}
    marks = list(within)

    def ends_turn(token: str) -> bool:
        return (
            _NAMED.search(token) is not None
            and token != tokenizer.special_tokens.get("bos_token")
            and not in_answers(token)
            and not any(token in mark for mark in marks)
        )

    found: set[int] = set()
    for text in filter(None, behind):
        ids = tokenizer.control_tokens.ids_in(text)
        found.update([number for number in ids if ends_turn(names[number])][:1])
    return frozenset(found)


def harmony_ends(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens that end an answer of gpt-oss, and a call."""
    added = tokenizer.added_ids
    return frozenset(added[token] for token in _HARMONY if token in added)
