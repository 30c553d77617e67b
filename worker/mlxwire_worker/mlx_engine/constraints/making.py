"""Makes the constraints of one loaded model's requests; the prepare thread alone uses it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mlxwire_protocol.formats import JsonSchemaFormat, ResponseFormat, TextFormat

from ..text.tokenizer import Tokenizer

if TYPE_CHECKING:  # a request without a format must not wait for these imports
    from llguidance import LLMatcher

    from .constraint import GrammarConstraint
    from .validation import Validator
    from .vocabulary import Vocabulary


class Constraints:
    """Compiles formats for a model, and keeps the last one: a batch has one for all prompts."""

    def __init__(self, tokenizer: Tokenizer, size: int, eos_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._eos_ids = eos_ids
        self._last: tuple[ResponseFormat, LLMatcher, Validator | None] | None = None

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from .vocabulary import Vocabulary

        return Vocabulary(self._tokenizer, self._size, self._eos_ids)

    def make(
        self, form: ResponseFormat | None, stop_ids: frozenset[int]
    ) -> GrammarConstraint | None:
        """Make the constraint of one sequence; None if any text has the form.

        Raises: WireError ``invalid_params`` for a format that can't be enforced.
        """
        if form is None or isinstance(form, TextFormat):
            return None
        from .constraint import GrammarConstraint
        from .grammars import compile_grammar

        if self._last is None or self._last[0] != form:
            matcher = compile_grammar(form, self._vocabulary.tokens)
            self._last = form, matcher, _validator(form)
        _, matcher, validator = self._last
        return GrammarConstraint(matcher.deep_copy(), self._vocabulary, stop_ids, validator)


def _validator(form: ResponseFormat) -> Validator | None:
    if not isinstance(form, JsonSchemaFormat):
        return None
    from .validation import Validator

    validator = Validator(form.json_schema.schema)  # it also refuses an invalid schema
    return None if form.json_schema.strict else validator
