"""One sequence inside the engine: its prompt, what it has generated, and where its cache is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...engine import Prompt
from ..cache.kv import Layers

Processor = Callable[[list[int], Any], Any]
"""(generated ids, logits [1, V]) to logits [1, V]; for grammars and for tests. May raise."""

_MASK = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Row:
    """``held`` tokens of ``tokens`` are in the cache: in ``layers`` while it is alone, in the
    batch's row otherwise."""

    prompt: Prompt
    tokens: list[int]
    layers: Layers | None = None
    held: int = 0
    generated: list[int] = field(default_factory=list)
    processor: Processor | None = None
    alone: bool = False
    seed: int = field(default=0)

    @classmethod
    def of(cls, prompt: Prompt) -> Row:
        """A row that has computed nothing yet."""
        seed = prompt.request.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "big")
        return cls(prompt=prompt, tokens=list(prompt.ids), seed=_mix(seed))

    @property
    def left(self) -> int:
        """Prompt tokens still to be computed before the one that is decoded."""
        return len(self.tokens) - 1 - self.held

    def key(self, draw: int) -> tuple[int, int]:
        """The random key of this row's ``draw``-th token, whatever runs beside it."""
        mixed = _mix(self.seed + draw * 0x9E3779B97F4A7C15)
        return mixed >> 32, mixed & 0xFFFFFFFF


def _mix(value: int) -> int:
    """splitmix64's finalizer (Steele et al., OOPSLA 2014): near seeds give unrelated keys."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
