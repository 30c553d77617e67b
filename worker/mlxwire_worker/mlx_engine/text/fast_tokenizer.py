"""Calls the tokenizers library without the interpreter's lock and with typed errors.

With the lock held, a long text or a pattern that backtracks would keep the worker from reading
requests. A panic of the library is not an `Exception`, so it would end the calling thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


def encode_ids(fast: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """Return the token ids of a text. Raises: WireError ``unsupported_model``."""
    with panics_as_errors():
        (encoded,) = fast.encode_batch_fast([text], add_special_tokens=add_special_tokens)
    ids: list[int] = encoded.ids
    return ids


def encode_with_offsets(fast: Tokenizer, text: str) -> Encoding:
    """Return the token ids of a text and where each begins and ends, in characters.

    Raises: WireError ``unsupported_model``.
    """
    with panics_as_errors():
        (encoded,) = fast.encode_batch([text], add_special_tokens=False)
    return encoded
