"""Compares what the worker computes with an adapter with what PEFT does."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from support.direct import Direct

from .conftest import Peft

IDS = [5, 17, 33, 99, 4, 250, 7, 81, 44, 3, 12, 19]
CLOSE = 1e-3
"""The greatest difference of two logits that are meant to be the same."""
MATTERS = 0.05
"""The least of the greatest differences that an adapter makes."""


def logits_beside_base(direct: Direct, folder: Path) -> tuple[mx.array, mx.array]:
    """Load an adapter, and return the logits [T, V] with it and without, from one pass."""
    direct.engine.load_adapter("theirs", str(folder))
    try:
        adapters = direct.loaded.adapters
        with adapters.rows([adapters.named("theirs"), None]):
            logits = direct.loaded.model(mx.array([IDS, IDS])).astype(mx.float32)
        mx.eval(logits)
    finally:
        direct.engine.unload_adapter("theirs")
    return logits[0], logits[1]


def furthest(one: mx.array, other: mx.array) -> float:
    """Return the greatest difference of two arrays."""
    return float(mx.abs(one - other).max())


def assert_like_peft(peft: Peft, direct: Direct, folder: Path, *, matters: bool = True) -> None:
    """Check that both compute the same with the adapter of a folder, and the same without."""
    ours, base = logits_beside_base(direct, folder)
    (theirs,) = peft.logits(direct.path, folder, [IDS])
    (their_base,) = peft.logits(direct.path, None, [IDS])
    assert furthest(base, their_base) < CLOSE
    assert furthest(ours, theirs) < CLOSE
    assert furthest(theirs, their_base) > MATTERS or not matters
