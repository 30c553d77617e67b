"""Compiles a ``response_format``, or refuses it with its field, keyword and path.

llguidance's errors name a keyword and not its place, so the place is found by a walk of the schema.
It compiles without the interpreter's lock, and within its own limits of size and work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.formats import (
    GrammarFormat,
    JsonObjectFormat,
    JsonSchemaFormat,
    RegexFormat,
    ResponseFormat,
)

_LIMITS = LLParserLimits(
    max_grammar_size=200_000, initial_lexer_fuel=2_000_000, max_lexer_states=100_000
)
MOST_SCHEMA_BYTES = 1 << 18
MOST_DEPTH = 64

_FIELD = "response_format"
_SCHEMA = f"{_FIELD}.json_schema.schema"
_KEYS = re.compile(r"Unimplemented keys: (\[.*\])", re.DOTALL)
_NAMED = (
    ("Unknown format: ", "format"),
    ("not present in a registry", "$ref"),
    ("regex parse error", "pattern"),
    ("oneOf", "oneOf"),
)
_OF_SCHEMAS = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
"""Keywords whose objects have names of the user's choice, with a schema under each."""
_OF_VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords whose values are data and no schemas."""


def compile_grammar(form: ResponseFormat, tokens: LLTokenizer) -> LLMatcher:
    """Return llguidance's matcher of a format other than `text`, at its beginning.

    Raises: WireError ``invalid_params`` with ``field``, and for a schema ``keyword`` and ``path``.
    """
    if isinstance(form, JsonSchemaFormat):
        return _of_schema(form, tokens)
    if isinstance(form, JsonObjectFormat):
        grammar = _from_schema({"type": "object"}, form.whitespace, strict=True)
        return _matcher(grammar, tokens)
    if isinstance(form, RegexFormat):
        grammar, field = LLMatcher.grammar_from_regex(form.regex), f"{_FIELD}.regex"
    else:
        assert isinstance(form, GrammarFormat)
        field = f"{_FIELD}.grammar"
        grammar = LLMatcher.grammar_from_lark(_lark(form, field))
    matcher = _matcher(grammar, tokens)
    if matcher.is_error():
        problem = _short(matcher.get_error())
        raise invalid_params(
            field, f"`{field}` can't be compiled: {problem}; correct it, or make it smaller"
        )
    return matcher


def _lark(form: GrammarFormat, field: str) -> str:
    if form.syntax == "lark":
        return form.grammar
    try:
        return str(any_to_lark(form.grammar))
    except Exception as error:  # the converter raises whatever the text leads to
        raise invalid_params(
            field, f"`{field}` is no GBNF grammar ({_short(error)}); correct it"
        ) from None


def _of_schema(form: JsonSchemaFormat, tokens: LLTokenizer) -> LLMatcher:
    schema = form.json_schema.schema
    if len(json.dumps(schema)) > MOST_SCHEMA_BYTES or _depth(schema) > MOST_DEPTH:
        raise invalid_params(
            _SCHEMA,
            f"the schema is too large; give one of at most {MOST_SCHEMA_BYTES >> 10} KiB and "
            f"{MOST_DEPTH} levels",
        )
    grammar = _from_schema(schema, form.whitespace, strict=form.json_schema.strict)
    matcher = _matcher(grammar, tokens)
    if matcher.is_error():
        raise _refused(schema, matcher.get_error(), strict=form.json_schema.strict)
    return matcher


def _from_schema(schema: Any, whitespace: str, *, strict: bool) -> str:
    if isinstance(schema, dict):
        schema = {name: value for name, value in schema.items() if name != "x-guidance"}
    options: Any = {
        "whitespace_flexible": whitespace == "flexible",
        "lenient": not strict,
        "coerce_one_of": not strict,
    }
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)


def _matcher(grammar: str, tokens: LLTokenizer) -> LLMatcher:
    """Compile a grammar; the matcher is in error if the grammar can't be used."""
    return LLMatcher(tokens, grammar, log_level=0, limits=_LIMITS)


def _refused(schema: Any, problem: str, *, strict: bool) -> WireError:
    for keyword in _keywords(problem):
        for path in _places(schema, keyword, ""):
            return invalid_params(
                _SCHEMA,
                f"the schema's `{keyword}` at {path} can't be enforced: {_short(problem)}; remove "
                "it" + (", or set `strict` to false" if strict and keyword != "$ref" else ""),
                keyword=keyword,
                path=path,
            )
    return invalid_params(
        _SCHEMA, f"the schema can't be compiled: {_short(problem)}; correct it"
    )


def _keywords(problem: str) -> Iterator[str]:
    """Yield the keywords that an error of llguidance is about."""
    if found := _KEYS.search(problem):
        yield from json.loads(found[1])
    for words, keyword in _NAMED:
        if words in problem:
            yield keyword
    yield from re.findall(r"[`'\"]?\b([a-z$][A-Za-z]+)\b[`'\"]?", problem)


def _places(schema: Any, keyword: str, path: str) -> Iterator[str]:
    """Yield the JSON Pointers of a keyword in a schema."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from _places(each, keyword, f"{path}/{index}")
    if not isinstance(schema, dict):
        return
    if keyword in schema:
        yield f"{path}/{_escaped(keyword)}"
    for name, value in schema.items():
        below = f"{path}/{_escaped(name)}"
        if name in _OF_SCHEMAS and isinstance(value, dict):
            for key, each in value.items():
                yield from _places(each, keyword, f"{below}/{_escaped(key)}")
        elif name not in _OF_VALUES:
            yield from _places(value, keyword, below)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        part, level = waiting.pop()
        if isinstance(part, dict | list):
            deepest = max(deepest, level)
            parts = part.values() if isinstance(part, dict) else part
            waiting += [(each, level + 1) for each in parts]
    return deepest


def _short(problem: object) -> str:
    return " ".join(str(problem).split())[:300]
