"""Makes the mask of a decode step: for each row the tokens that its constraint allows.

The masks are made on the CPU while the device computes the logits, and applied in one operation.
Rows without a constraint allow all tokens, so their logits do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlxwire_protocol import WireError, invalid_params

from ...prompts import Constraint
from ..sequences.rows import Row


def mask_of(rows: Sequence[Row], unread: Sequence[int] | None, size: int) -> mx.array | None:
    """Return the allowed tokens [B, V] as booleans; None if no row has a constraint.

    ``unread`` are the rows' newest tokens, which their ``generated`` still lack; ``size`` is V.
    Raises: WireError if a row's constraint can't go on, or allows no token.
    """
    held = [
        (place, constraint)
        for place, row in enumerate(rows)
        if (constraint := row.prompt.constraint) is not None
    ]
    for place, constraint in held:
        newest = None if unread is None else unread[place]
        constraint.follow(rows[place].generated, newest)
    held = [(place, constraint) for place, constraint in held if not constraint.free]
    if not held:
        return None
    import numpy as np

    bits = np.full((len(rows), -(-size // 32)), -1, dtype=np.int32)
    address, stride = bits.ctypes.data, bits.strides[0]
    for place, constraint in held:
        constraint.fill(bits[place], address + place * stride)
    possible = bits.any(axis=1)
    if not possible.all():
        stuck = rows[int(possible.argmin())].prompt.constraint
        assert stuck is not None
        raise _nothing_allowed(stuck)
    spread = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=size)
    allowed: Any = spread.view(np.bool_)
    return mx.array(allowed)


def _nothing_allowed(constraint: Constraint) -> WireError:
    if constraint.formed:
        return invalid_params(
            "response_format",
            "the model's tokens, less those that `stop_tokens` names, can't continue the text in "
            "this form; leave `stop_tokens` out, or change `response_format`",
        )
    return invalid_params(
        "tool_choice",
        "the model's tokens, less those that `stop_tokens` names, can't continue the required call; "
        "leave `stop_tokens` out, or set `tool_choice` to `auto`",
    )
