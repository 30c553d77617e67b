"""Negates JSON Schemas: finds the schema of all values that are no instances of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

ANNOTATIONS = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "default",
        "deprecated",
        "description",
        "examples",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that restrict no value."""
_TYPES = ("null", "boolean", "number", "string", "array", "object")
_LENGTHS: dict[str, tuple[str, str, int]] = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
}
"""For each bound: the type that it holds for, the opposite bound, and the step between the two."""
NOTHING: dict[str, Any] = {"enum": []}
"""A schema without instances."""
_MOST_TEXTS = 100
_ANY = r"[\s\S]*"


class NotNegated(Exception):
    """Raised for a schema whose negation no keyword of llguidance can tell."""


def negated(schema: Any) -> dict[str, Any]:
    """Return the schema of all values that are no instances of ``schema``. Raises: NotNegated."""
    if isinstance(schema, bool):
        return NOTHING if schema else {}
    if not isinstance(schema, dict) or "$ref" in schema:
        raise NotNegated
    choices: list[dict[str, Any]] = []
    for keyword, value in schema.items():
        if keyword in ANNOTATIONS:
            continue
        if keyword in _LENGTHS:
            choices.append(_beyond(keyword, value))
        elif keyword in _NEGATIONS:
            choices += _NEGATIONS[keyword](value)
        else:
            raise NotNegated
    return any_of(choices)


def any_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of the instances of at least one of these."""
    choices = [choice for choice in choices if choice != NOTHING]
    if not choices:
        return NOTHING
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def lacking(name: str) -> dict[str, Any]:
    """Return the schema of values without a property."""
    return {"properties": {name: False}}


def _beyond(keyword: str, bound: Any) -> dict[str, Any]:
    kind, opposite, step = _LENGTHS[keyword]
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise NotNegated
    if bound + step < 0:
        return NOTHING
    return {"type": kind, opposite: bound + step}


def _no_type(types: Any) -> Iterator[dict[str, Any]]:
    named = [types] if isinstance(types, str) else types
    if "integer" in named and "number" not in named:
        raise NotNegated
    rest = [each for each in _TYPES if each not in named]
    yield {"type": rest} if rest else NOTHING


def _not_required(names: Any) -> Iterator[dict[str, Any]]:
    for name in names:
        yield {"type": "object", **lacking(name)}


def _other_property(properties: Any) -> Iterator[dict[str, Any]]:
    for name, schema in properties.items():
        if (opposite := negated(schema)) != NOTHING:
            yield {"type": "object", "required": [name], "properties": {name: opposite}}


def _no_other_property(schema: Any) -> Iterator[dict[str, Any]]:
    if schema not in (True, {}):
        raise NotNegated
    return iter(())


def _no_value(values: Any) -> Iterator[dict[str, Any]]:
    """Yield schemas of values that are none of these texts, truth values and null."""
    texts = {each for each in values if isinstance(each, str)}
    simple = (str, bool, type(None))
    if len(texts) > _MOST_TEXTS or not all(isinstance(each, simple) for each in values):
        raise NotNegated
    others = ["number", "array", "object", *(() if None in values else ("null",))]
    yield {"type": others}
    truths = [truth for truth in (False, True) if not any(each is truth for each in values)]
    yield {"enum": truths}
    yield {"type": "string", "pattern": f"^{_none_of(texts)}$"} if texts else {"type": "string"}


def _none_of(texts: set[str]) -> str:
    """Return an expression of all texts other than these."""
    longer = {text for text in texts if text}
    firsts = sorted({text[0] for text in longer})
    if not firsts:
        return f"(?:{_ANY[:-1]}{_ANY})"
    branches = [f"[^{''.join(map(_literal, firsts))}]{_ANY}"]
    for first in firsts:
        rest = {text[1:] for text in longer if text[0] == first}
        branches.append(_literal(first) + _none_of(rest))
    return f"(?:{'|'.join(branches)}){'' if '' in texts else '?'}"


def _literal(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"


def _each_negated(schemas: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for schema in schemas:
        yield negated(schema)


_NEGATIONS: dict[str, Callable[[Any], Iterator[dict[str, Any]]]] = {
    "type": _no_type,
    "required": _not_required,
    "properties": _other_property,
    "additionalProperties": _no_other_property,
    "enum": _no_value,
    "const": lambda value: _no_value([value]),
    "allOf": _each_negated,
    "anyOf": lambda schemas: iter([{"allOf": list(_each_negated(schemas))}]),
    "not": lambda schema: iter([schema if isinstance(schema, dict) else negated(not schema)]),
}
