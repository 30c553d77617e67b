"""The tokens that `mlxwire tokens` prints, for people and for scripts."""

from __future__ import annotations

from ..results import Tokenized
from .arguments import Launch
from .launch import launch_worker, load_model


async def load_tokens(launch: Launch, text: str, *, chat: bool, count_only: bool) -> Tokenized:
    """Load the model and return the tokens of a raw prompt, or with ``chat`` of a user's turn."""
    worker = await launch_worker(launch)
    try:
        model = await load_model(worker, launch, warmup=False)
        tokenize = model.tokenize_chat if chat else model.tokenize
        return await tokenize(text, count_only=count_only)
    finally:
        await worker.close()


def in_lines(tokens: Tokenized) -> str:
    """Return a line for each token: its id, and its piece as a Python literal.

    The literal shows spaces, and escapes what a terminal would obey or hide.
    """
    ids, pieces = tokens.ids or [], tokens.pieces or []
    width = len(str(max(ids, default=0)))
    rows = zip(ids, pieces, strict=True)
    return "".join(f"{token_id:>{width}}  {piece!r}\n" for token_id, piece in rows)
