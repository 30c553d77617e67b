"""Compiles a ``response_format`` of any type, or refuses it with its field."""

from __future__ import annotations

import re

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from mlxwire_protocol import invalid_params
from mlxwire_protocol.formats import (
    GrammarFormat,
    JsonObjectFormat,
    JsonSchemaFormat,
    RegexFormat,
    ResponseFormat,
)

from .compiling import json_grammar, matcher_of, short
from .json_schema.compiler import SchemaCompiler
from .vocabulary import Vocabulary

_FIELD = "response_format"
MOST_RULES = 500
"""llguidance takes seconds to report an undefined name at the end of a chain of 1,000 rules."""
_RULE = re.compile(r"^\s*[?!]?\w[^:\n\"/]*:", re.MULTILINE)


def compile_grammar(form: ResponseFormat, vocabulary: Vocabulary) -> LLMatcher:
    """Return llguidance's matcher of a format other than `text`, at its beginning.

    Raises: WireError ``invalid_params`` with ``field``, and for a schema ``keyword`` and ``path``.
    """
    if isinstance(form, JsonSchemaFormat):
        described = form.json_schema
        compiler = SchemaCompiler(
            described.schema,
            vocabulary.tokens,
            strict=described.strict,
            whitespace=form.whitespace,
        )
        return compiler.compile()[0]
    if isinstance(form, JsonObjectFormat):
        return matcher_of(json_grammar({"type": "object"}, form.whitespace), vocabulary.tokens)
    if isinstance(form, RegexFormat):
        grammar, field = LLMatcher.grammar_from_regex(form.regex), f"{_FIELD}.regex"
    else:
        assert isinstance(form, GrammarFormat)
        field = f"{_FIELD}.grammar"
        grammar = LLMatcher.grammar_from_lark(vocabulary.with_ids(_lark(form, field)))
    matcher = matcher_of(grammar, vocabulary.tokens)
    if matcher.is_error():
        problem = short(vocabulary.in_names(matcher.get_error()))
        raise invalid_params(
            field, f"`{field}` can't be compiled: {problem}; correct it, or make it smaller"
        )
    return matcher


def _lark(form: GrammarFormat, field: str) -> str:
    grammar = form.grammar if form.syntax == "lark" else _from_gbnf(form.grammar, field)
    if len(_RULE.findall(grammar)) > MOST_RULES:
        raise invalid_params(
            field,
            f"`{field}` has more than {MOST_RULES} rules, which could take minutes to compile; make "
            "it smaller",
        )
    return grammar


def _from_gbnf(grammar: str, field: str) -> str:
    try:
        return str(any_to_lark(grammar))
    except Exception as error:  # the converter raises whatever the text leads to
        raise invalid_params(
            field, f"`{field}` is no GBNF grammar ({short(error)}); correct it"
        ) from None
