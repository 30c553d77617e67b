"""One sequence inside the engine: its prompt, its generated tokens, and its caches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...prompts import Prompt
from ..cache.kv import Layers

if TYPE_CHECKING:
    from .prefill import Slice

Processor = Callable[[list[int], Any], Any]
"""Maps (generated ids, logits [1, V]) to logits [1, V]. May raise. Tests alone set one."""

_MASK = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Row:
    """One sequence that waits, is prefilled or decodes.

    ``tokens`` are the ids to compute, and ``keys`` are those under which the prompt cache has them.
    The caches hold the first ``held`` of the tokens, and later of the generated ones. They are in
    ``layers`` until the row joins a batch; while a ``slice`` is under way they are lazy, and hold
    more than ``held`` says. ``alone`` marks a row that must take one step in a batch of its own,
    after a failed step. ``stops`` are the lengths at which prefill keeps what it has computed so far.
    """

    prompt: Prompt
    tokens: list[int]
    keys: list[int]
    layers: Layers | None = None
    held: int = 0
    generated: list[int] = field(default_factory=list)
    processor: Processor | None = None
    alone: bool = False
    slice: Slice | None = None
    stops: list[int] = field(default_factory=list)
    seed: int = field(default=0)

    @classmethod
    def of(cls, prompt: Prompt) -> Row:
        """Create a row that has computed nothing; draw a random seed if the request has none."""
        seed = prompt.params.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "big")
        tokens = list(prompt.ids)
        return cls(prompt=prompt, tokens=tokens, keys=keys_of(prompt, tokens), seed=_mix(seed))

    def begin_again(self) -> None:
        """Reset to the token log, to be computed alone; the draws continue."""
        self.tokens = self.prompt.ids + self.generated
        self.keys = keys_of(self.prompt, self.tokens)
        self.layers, self.held, self.alone, self.slice = None, 0, True, None
        self.stops = []

    @property
    def left(self) -> int:
        """Return the number of tokens to compute before the last one, which the batch decodes."""
        return len(self.tokens) - 1 - self.held

    @property
    def until_stop(self) -> int:
        """Return the number of tokens to compute before the next stop, or as ``left`` without one."""
        return self.stops[0] - self.held if self.stops else self.left

    @property
    def shapes_logits(self) -> bool:
        """Whether the request asks for penalties, a bias, or a least number of tokens."""
        params = self.prompt.params
        return self.counts_tokens or bool(params.logit_bias) or params.min_tokens > 0

    @property
    def counts_tokens(self) -> bool:
        """Whether the request asks for penalties on tokens that were generated before."""
        params = self.prompt.params
        return (
            params.repeat_penalty not in (0.0, 1.0)
            or params.presence_penalty != 0.0
            or params.frequency_penalty != 0.0
        )

    def key(self, draw: int) -> tuple[int, int]:
        """Return the random key of this row's ``draw``-th token; other rows do not affect it."""
        mixed = _mix(self.seed + draw * 0x9E3779B97F4A7C15)
        return mixed >> 32, mixed & 0xFFFFFFFF


def keys_of(prompt: Prompt, tokens: list[int]) -> list[int]:
    """Return the keys of a prompt's tokens in the prompt cache; each adapter has its own keys."""
    return tokens if prompt.adapter is None else prompt.adapter.keys(tokens)


def adapters_of(rows: Iterable[Row]) -> Iterator[Any]:
    """Yield the adapter of each row, None for the model alone. A step without adapters asks for none."""
    return (row.prompt.adapter for row in rows)


def _mix(value: int) -> int:
    """Apply splitmix64's finalizer (Steele et al., OOPSLA 2014), so that near seeds differ."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
