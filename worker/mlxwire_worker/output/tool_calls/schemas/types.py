"""Tells which types of JSON a schema allows."""

from __future__ import annotations

from functools import reduce
from typing import Any

from .branches import DEEPEST_REFERENCE, referenced, types_in

TYPES = ("null", "boolean", "integer", "number", "array", "object", "string")
"""All types of JSON, in the order in which they are tried."""

_NAMES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def types_of(schema: Any, root: dict[str, Any]) -> frozenset[str]:
    """Return the types that a value can have; none if the schema does not tell."""
    return _types(schema, root, 0) & frozenset(TYPES)


def declared_types(schema: Any, root: dict[str, Any]) -> frozenset[str]:
    """Return the types that a value can have by JSON Schema, which does not know `nullable`."""
    known = isinstance(schema, dict) and "nullable" in schema
    return types_of({**schema, "nullable": False} if known else schema, root)


def type_of(value: Any) -> str:
    """Return the type of a value."""
    return _NAMES.get(type(value), "null")


def _types(schema: Any, root: dict[str, Any], depth: int) -> frozenset[str]:
    if not isinstance(schema, dict) or depth > DEEPEST_REFERENCE:
        return frozenset()
    found: list[frozenset[str]] = []
    if "type" in schema:
        found.append(types_in(schema["type"]))
    elif isinstance(schema.get("enum"), list):
        found.append(frozenset(map(type_of, schema["enum"])))
    elif "const" in schema:
        found.append(frozenset({type_of(schema["const"])}))
    if isinstance(reference := schema.get("$ref"), str):
        target = referenced(reference, root)
        found.append(_types(target and target.schema, root, depth + 1))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(keyword), list):
            each = [_types(choice, root, depth + 1) for choice in choices]
            found.append(frozenset().union(*each))
    if isinstance(parts := schema.get("allOf"), list):
        found += [_types(part, root, depth + 1) for part in parts]
    told = [types for types in found if types]
    types = reduce(_common, told) if told else frozenset[str]()
    return types | {"null"} if schema.get("nullable") is True and types else types


def _common(some: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    """Return the types in both; an integer is a number."""
    common = some & others
    for one, other in ((some, others), (others, some)):
        if "integer" in one and "number" in other:
            common |= {"integer"}
    return common or some
