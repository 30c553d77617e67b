"""Makes the constraints of one loaded model's requests; the prepare thread alone uses it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlxwire_protocol.formats import (
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    TextFormat,
)

from ...output.tool_calls.family import Tools
from ..text.tokenizer import Tokenizer

if TYPE_CHECKING:  # a request without a format must not wait for these imports
    from llguidance import LLMatcher

    from .call_grammars import WriteCalls
    from .constraint import GrammarConstraint
    from .json_schema.validation import Validator
    from .vocabulary import Vocabulary


class Constraints:
    """Compiles formats and tools for a model, and keeps the last one.

    A batch has one format for all prompts, and the rounds of a conversation have the same tools.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, eos_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._eos_ids = eos_ids
        self._last: tuple[bytes | None, LLMatcher, Validator | None] | None = None

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
        from .grammars import compile_grammar

        # As objects, `{"const": 1}` and `{"const": true}` are equal, and so are two orders of names.
        key = _written(form)
        if not self._keeps(key):
            matcher = compile_grammar(form, self._vocabulary)
            self._last = key, matcher, _validator(form)
        written_in_json = isinstance(form, JsonSchemaFormat | JsonObjectFormat)
        return self._copy_of_last(stop_ids, formed=True, numbers=written_in_json)

    def make_calls(
        self,
        tools: Tools,
        write: WriteCalls,
        stop_ids: frozenset[int],
        *,
        fields: Mapping[str, str],
        more: bool,
    ) -> GrammarConstraint:
        """Make the constraint of an answer that must call a tool.

        ``write`` returns a Lark grammar of calls; ``fields`` are the tools' schemas in the request, by
        the tools' names; ``more`` is True if the grammar allows several calls.
        Raises: WireError ``invalid_params`` for schemas that can't be enforced.
        """
        from .call_grammars import compile_calls

        key = msgspec.json.encode([list(tools), more])
        if not self._keeps(key):
            self._last = key, compile_calls(tools, write, self._vocabulary, fields), None
        return self._copy_of_last(stop_ids, formed=False, numbers=True)

    def _keeps(self, key: bytes | None) -> bool:
        """Return True if the last one that was compiled has this key, a format or tools."""
        return key is not None and self._last is not None and self._last[0] == key

    def _copy_of_last(
        self, stop_ids: frozenset[int], *, formed: bool, numbers: bool
    ) -> GrammarConstraint:
        from .constraint import GrammarConstraint

        assert self._last is not None
        _, matcher, validator = self._last
        return GrammarConstraint(
            matcher.deep_copy(),
            self._vocabulary,
            stop_ids,
            validator,
            formed=formed,
            numbers=numbers,
        )


def _written(form: ResponseFormat) -> bytes | None:
    """Return a format as JSON; None if it is nested too deeply for that."""
    try:
        return msgspec.json.encode(form)
    except RecursionError:
        return None


def _validator(form: ResponseFormat) -> Validator | None:
    if not isinstance(form, JsonSchemaFormat):
        return None
    from .json_schema.validation import Validator

    validator = Validator(form.json_schema.schema)  # it also refuses an invalid schema
    return None if form.json_schema.strict else validator
