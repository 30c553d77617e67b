"""Keys of the prompt cache: token ids, moved apart for each adapter.

An adapter changes what the model computes of a token, so a sequence with one may take nothing from a
sequence without it.
"""

from __future__ import annotations

from collections.abc import Sequence

_DISTANCE = 1 << 32
"""More than any token id."""


def keys_with(number: int, ids: Sequence[int]) -> list[int]:
    """Return the keys of token ids with the adapter of a number from 1 on."""
    return [token + number * _DISTANCE for token in ids]


def are_keys_with(number: int, keys: Sequence[int]) -> bool:
    """Return True if keys are those of a sequence with the adapter of a number; 0 is without any."""
    return bool(keys) and keys[0] // _DISTANCE == number
