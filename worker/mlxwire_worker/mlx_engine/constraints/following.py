"""Finds the tokens of a sequence that a constraint has not taken yet, at the cost of those alone."""

from __future__ import annotations

from collections.abc import Sequence


def unseen(
    taken: Sequence[int], generated: Sequence[int], newest: int | None
) -> list[int] | None:
    """Return the tokens after ``taken``; None if the sequence no longer begins with ``taken``.

    The sequence is ``generated`` and then ``newest``. A step that failed is repeated, and may choose
    another token: so only the last token that was taken can differ.
    """
    known, read = len(taken), len(generated)
    if known > read + (newest is not None):
        return None
    if known:
        last = newest if known > read else generated[known - 1]
        if last != taken[-1]:
            return None
    fresh = list(generated[known:])
    if newest is not None and known <= read:
        fresh.append(newest)
    return fresh
