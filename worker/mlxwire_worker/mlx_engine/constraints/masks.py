"""Makes the mask of a decode step: for each row the tokens that its constraint allows.

The masks are made on the CPU while the device computes the logits, and applied in one operation.
Rows without a constraint allow all tokens, so their logits do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ..sequences.rows import Row


def mask_of(rows: Sequence[Row], unread: Sequence[int] | None, size: int) -> mx.array | None:
    """Return the allowed tokens [B, V] as booleans; None if no row has a constraint.

    ``unread`` are the rows' newest tokens, which their ``generated`` still lack; ``size`` is V.
    Raises: WireError of the row whose constraint can't go on.
    """
    if all(row.prompt.constraint is None for row in rows):
        return None
    import numpy as np

    bits = np.full((len(rows), -(-size // 32)), -1, dtype=np.int32)
    address, stride = bits.ctypes.data, bits.strides[0]
    for place, row in enumerate(rows):
        constraint = row.prompt.constraint
        if constraint is not None:
            newest = [] if unread is None else [unread[place]]
            constraint.follow(row.generated + newest)
            constraint.fill(bits[place], address + place * stride)
    spread = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=size)
    allowed: Any = spread.view(np.bool_)
    return mx.array(allowed)
