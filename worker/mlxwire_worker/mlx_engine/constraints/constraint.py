"""Holds one sequence to a grammar: which tokens may come next, and whether its text is whole.

The state follows from the tokens that were generated: a step that failed and is repeated finds it
again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from llguidance import LLMatcher

from mlxwire_protocol import WireError, invalid_params

from ...prompts import Constraint
from .validation import Validator
from .vocabulary import Vocabulary

Bits = np.ndarray[Any, np.dtype[np.int32]]


class GrammarConstraint(Constraint):
    """A grammar's state along one sequence. ``stop_ids`` end the text, once it is whole.

    ``matcher`` is at the grammar's beginning, and no other sequence may have it.

    Used by the engine's thread alone, after it was made.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        validator: Validator | None,
    ) -> None:
        self._ends = stop_ids
        self._end_bits = _bits(stop_ids, vocabulary.size)
        self._no_ends = ~_bits(stop_ids | vocabulary.eos_ids, vocabulary.size)
        self._validator = validator
        self._matcher = matcher
        self._taken: list[int] = []

    @property
    def complete(self) -> bool:
        """Return True if the tokens that were followed are a whole text of the grammar."""
        return self._matcher.is_accepting()

    @property
    def ended(self) -> bool:
        """Return True if no token can follow."""
        return self._matcher.is_stopped()

    def valid(self, text: str) -> bool | None:
        """Return True if a text is an instance of the schema; None if the grammar ensures it."""
        return None if self._validator is None else self._validator.accepts(text)

    def follow(self, generated: list[int]) -> None:
        """Take the state after ``generated``. Raises: WireError for one that breaks the grammar."""
        known = len(self._taken)
        if generated[:known] != self._taken:  # a step that failed is repeated
            self._matcher.reset()
            self._taken, known = [], 0
        for token in generated[known:]:
            if self._matcher.is_stopped() or token in self._ends:
                break
            self._taken.append(token)
            if not self._matcher.consume_token(token):
                self._check()

    def fill(self, row: Bits, address: int) -> None:
        """Set the bits of the tokens that may come next in ``row`` [V / 32], which is at ``address``.

        Raises: WireError ``invalid_params`` if no token may come next.
        """
        if self._matcher.is_stopped():
            return  # the sequence ends: whatever is computed for it is not used
        # llguidance's own wrapper checks array and address anew for each row, 5 µs each.
        self._matcher.unsafe_compute_mask_ptr(address, row.nbytes)
        self._check()
        row &= self._no_ends
        if self._matcher.is_accepting():
            row |= self._end_bits
        if not row.any():
            raise invalid_params(
                "response_format",
                "the model's tokens, less those that `stop_tokens` names, can't continue the "
                "text in this form; leave `stop_tokens` out, or change `response_format`",
            )

    def _check(self) -> None:
        if self._matcher.is_error():
            told = " ".join(self._matcher.get_error().split())[:200]
            raise WireError(
                "invalid_params",
                f"the grammar of `response_format` became too complex to follow ({told}); make it "
                "simpler",
                data={"field": "response_format"},
            )


def _bits(tokens: Iterable[int], size: int) -> Bits:
    """Return a row [V / 32] in which the bits of these tokens are set."""
    row = np.zeros(-(-size // 32), dtype=np.uint32)
    for token in tokens:
        row[token // 32] |= np.uint32(1 << token % 32)
    return row.view(np.int32)
