"""Holds one sequence to a grammar: which tokens may come next, and whether its text is whole.

The state follows from the tokens that were generated: a step that failed and is repeated finds it
again.
"""

from __future__ import annotations

from llguidance import LLMatcher

from mlxwire_protocol import invalid_params

from ...prompts import Constraint
from .bits import Bits, bits_of
from .compiling import short
from .following import unseen
from .json_schema.validation import Validator
from .numbers import NumberLimit
from .vocabulary import Vocabulary


class GrammarConstraint(Constraint):
    """A grammar's state along one sequence. ``stop_ids`` end the text, once it is whole.

    ``formed`` is False for the grammar of a tool call, which the request did not write. ``matcher``
    is at the grammar's beginning, and no other sequence may have it. ``numbers`` is True if the text
    has JSON in it, whose numbers are limited. The prepare thread makes the constraint; afterwards the
    engine's thread alone uses it.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        validator: Validator | None,
        *,
        formed: bool = True,
        numbers: bool = False,
    ) -> None:
        self._formed = formed
        self._ends = stop_ids
        self._end_bits = bits_of(stop_ids, vocabulary.size)
        self._no_ends = ~bits_of(stop_ids | vocabulary.eos_ids, vocabulary.size)
        self._validator = validator
        self._matcher = matcher
        self._numbers = NumberLimit(vocabulary.numbers) if numbers else None
        self._taken: list[int] = []

    @property
    def formed(self) -> bool:
        """Return True unless the grammar is that of a tool call."""
        return self._formed

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

    def follow(self, generated: list[int], newest: int | None = None) -> None:
        """Take the state after these tokens, and ``newest`` behind them.

        Raises: WireError ``invalid_params`` if the grammar became too complex.
        """
        fresh = unseen(self._taken, generated, newest)
        if fresh is None:
            self._matcher.reset()
            if self._numbers is not None:
                self._numbers.restart()
            self._taken = []
            fresh = unseen((), generated, newest) or []
        for token in fresh:
            if self._matcher.is_stopped() or token in self._ends:
                break
            self._taken.append(token)
            if self._numbers is not None:
                self._numbers.follow(token)
            if not self._matcher.consume_token(token):
                self._check()

    def fill(self, row: Bits, address: int) -> None:
        """Set the bits of the tokens that may come next in ``row`` [V / 32], which is at ``address``.

        Raises: WireError ``invalid_params`` if the grammar became too complex.
        """
        if self._matcher.is_stopped():
            return  # the sequence ends: whatever is computed for it is not used
        # llguidance's own wrapper checks array and address anew for each row, 5 µs each.
        self._matcher.unsafe_compute_mask_ptr(address, row.nbytes)
        self._check()
        row &= self._no_ends
        if self._matcher.is_accepting():
            row |= self._end_bits
        if self._numbers is not None:
            self._numbers.limit(row)

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        told = short(self._matcher.get_error())
        if self._formed:
            raise invalid_params(
                "response_format",
                f"the grammar of `response_format` became too complex to follow ({told}); make it "
                "simpler",
            )
        raise invalid_params(
            "tools",
            f"the grammar of the required call became too complex to follow ({told}); simplify the "
            "`parameters` of `tools`, or set `tool_choice` to `auto`",
        )
