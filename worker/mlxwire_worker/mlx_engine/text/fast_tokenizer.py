"""Calls into the tokenizers library: without the interpreter's lock, and with typed errors.

With the lock held a long text, or a pattern of the folder's that backtracks, would keep the
worker from hearing its host. A panic of the library is no `Exception`: it would end the thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenizers import Encoding, Tokenizer

from mlxwire_protocol import WireError


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raises: WireError ``unsupported_model``, which does not quote the text."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise WireError(
            "unsupported_model",
            "the model's tokenizer gave up, on a pattern that needs too many tries or for a "
            "fault of its own; copy tokenizer.json anew, or use another model",
            data={"reason": "tokenizer"},
        ) from None


def encode_ids(fast: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """A text's token ids."""
    with panics_as_errors():
        (encoded,) = fast.encode_batch_fast([text], add_special_tokens=add_special_tokens)
    ids: list[int] = encoded.ids
    return ids


def encode_with_offsets(fast: Tokenizer, text: str) -> Encoding:
    """A text's token ids and where each begins and ends, in characters."""
    with panics_as_errors():
        (encoded,) = fast.encode_batch([text], add_special_tokens=False)
    return encoded
