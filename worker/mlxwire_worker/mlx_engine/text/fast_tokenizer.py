"""Calls the tokenizers library without the interpreter's lock and with typed errors.

With the lock held, a long text or a pattern that backtracks would keep the worker from reading
requests. A panic of the library is not an `Exception`, so it would end the calling thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from ..models.model_files import unsupported


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic of the tokenizers library into a WireError ``unsupported_model``.

    The error does not quote the text.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise unsupported(
            "tokenizer",
            "the model's tokenizer failed on this text: a pattern in tokenizer.json needs too many "
            "steps, or the file is damaged; copy tokenizer.json again from the model's source, or "
            "use another model",
        ) from None


class Located(NamedTuple):
    """Token ids, and where each token ends in the text, in characters."""

    ids: list[int]
    ends: list[int]

    def tokens_in(self, characters: int) -> int:
        """Return the number of tokens that lie in the text's first ``characters``."""
        return bisect_right(self.ends, characters)

    def shifted_back(self, shifts: Iterable[tuple[int, int]]) -> Located:
        """Return the tokens with their ends in the text before it was made longer.

        ``shifts`` are places in the longer text and by how much it is longer there, ascending.
        """
        left = deque(shifts)
        shift, ends = 0, []
        for end in self.ends:
            while left and left[0][0] <= end:
                shift = left.popleft()[1]
            ends.append(end - shift)
        return Located(self.ids, ends)


def encode_ids(fast: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """Return the token ids of a text. Raises: WireError ``unsupported_model``."""
    with panics_as_errors():
        (encoded,) = fast.encode_batch_fast([text], add_special_tokens=add_special_tokens)
    ids: list[int] = encoded.ids
    return ids


def encode_pair(fast: Tokenizer, first: str, second: str) -> tuple[list[int], list[int]]:
    """Return the token ids of a pair of texts, with special tokens, and the type of each token.

    Raises: WireError ``unsupported_model``.
    """
    with panics_as_errors():
        (encoded,) = fast.encode_batch_fast([(first, second)])
    return encoded.ids, encoded.type_ids


def encode_with_offsets(fast: Tokenizer, text: str) -> Encoding:
    """Return the token ids of a text and where each begins and ends, in characters.

    Raises: WireError ``unsupported_model``.
    """
    with panics_as_errors():
        (encoded,) = fast.encode_batch([text], add_special_tokens=False)
    return encoded


def locate(fast: Tokenizer, text: str) -> Located:
    """Return the token ids of a text and their ends, without those that a raw prompt gets.

    Raises: WireError ``unsupported_model``.
    """
    encoded = encode_with_offsets(fast, text)
    return Located(encoded.ids, [end for _, end in encoded.offsets])
