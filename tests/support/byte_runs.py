"""Finds the ids whose streamed text may differ from a whole decode (SPEC §5)."""

from __future__ import annotations

from tokenizers import Tokenizer as FastTokenizer


def breaks_after_a_character(fast: FastTokenizer, ids: list[int]) -> bool:
    """Return True if a run of byte tokens has whole characters before a byte that is no UTF-8."""
    run = b""
    names = [name for token in ids if (name := fast.id_to_token(token)) is not None]
    for name in [*names, "the end"]:
        if len(name) == 6 and name.startswith("<0x"):
            run += bytes.fromhex(name[3:5])
            continue
        text = run.decode("utf-8", "replace")
        if not text.startswith("\ufffd") and "\ufffd" in text:
            return True
        run = b""
    return False
