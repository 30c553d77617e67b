"""Decodes ids as SPEC §5 says it of bytes that are no UTF-8: characters before them stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer as FastTokenizer

_BREAK = "\x02\x03\x02"


def decode_kept(fast: FastTokenizer, ids: Sequence[int]) -> str:
    """Decode ids by the library; a run of byte tokens ends after each complete character."""
    names = [name for token in ids if (name := fast.id_to_token(token)) is not None]
    if fast.decoder is None:
        return " ".join(names)
    text: str = fast.decoder.decode(list(_with_breaks(names)))
    return text.replace(_BREAK, "")


def _with_breaks(names: list[str]) -> Iterator[str]:
    pending = b""
    for name in names:
        yield name
        if not (len(name) == 6 and name.startswith("<0x")):
            pending = b""
            continue
        pending += bytes.fromhex(name[3:5])
        try:
            pending.decode()
        except UnicodeDecodeError:
            continue
        pending = b""
        yield _BREAK
