"""Rows of bits, one for each token of the vocabulary: the masks that constraints fill."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Bits = np.ndarray[Any, np.dtype[np.int32]]


def bits_of(tokens: Iterable[int], size: int) -> Bits:
    """Return a row [V / 32] in which the bits of these tokens are set; ``size`` is V."""
    row = np.zeros(-(-size // 32), dtype=np.int32)
    for token in tokens:
        set_bit(row, token, allowed=True)
    return row


def set_bit(row: Bits, token: int, *, allowed: bool) -> None:
    """Set or clear the bit of one token."""
    bits = row.view(np.uint32)
    bit = np.uint32(1 << token % 32)
    if allowed:
        bits[token // 32] |= bit
    else:
        bits[token // 32] &= ~bit
