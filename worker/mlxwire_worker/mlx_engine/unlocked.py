"""Encodes without the interpreter's lock where that would be held long: 10 s for 15 MB."""

from __future__ import annotations

from tokenizers import Encoding, Tokenizer

LONG_CHARACTERS = 20_000
"""From here on a text takes milliseconds to encode, and other threads shall be heard."""


def encode_ids(fast: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """A text's token ids."""
    if len(text) < LONG_CHARACTERS:
        short: list[int] = fast.encode(text, add_special_tokens=add_special_tokens).ids
        return short
    (encoded,) = fast.encode_batch_fast([text], add_special_tokens=add_special_tokens)
    ids: list[int] = encoded.ids
    return ids


def encode_with_offsets(fast: Tokenizer, text: str) -> Encoding:
    """A text's token ids and where each begins and ends, in characters."""
    (encoded,) = fast.encode_batch([text], add_special_tokens=False)
    return encoded
