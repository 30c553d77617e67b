"""Expands keywords about the names and the number of properties into those that llguidance knows."""

from __future__ import annotations

import json
from itertools import combinations
from math import comb
from typing import Any

from .negation import ANNOTATIONS
from .validation import Validator

_MOST_WAYS = 64
"""The most choices among optional properties to which a `maxProperties` is spread."""
_LENGTHS = frozenset({"minLength", "maxLength"})
_ANY = "(?:.|[\\n\\r\\u2028\\u2029])"


def expand_names(owner: dict[str, Any]) -> None:
    """Replace `propertyNames` in a schema by the properties that it leaves, if that is possible."""
    names = owner.get("propertyNames")
    if names is True:
        del owner["propertyNames"]
    others = owner.get("additionalProperties", True)
    if not isinstance(names, dict) or "unevaluatedProperties" in owner:
        return
    asked = names.keys() - ANNOTATIONS
    if names.get("type", "string") == "string":
        asked -= {"type"}
    given, patterns = owner.get("properties", {}), owner.get("patternProperties", {})
    if asked in ({"enum"}, {"const"}) and not patterns:
        listed = names["enum"] if "enum" in names else [names["const"]]
        chosen = {name: given.get(name, others) for name in listed if isinstance(name, str)}
        pattern = None
    elif (pattern := _pattern(names, asked)) and patterns.keys() <= {pattern}:
        if given and others not in (True, {}) and not patterns:
            return  # the schema of the other properties would hold for the named ones too
        fits = Validator(names)
        chosen = {name: each for name, each in given.items() if fits.accepts(json.dumps(name))}
    else:
        return
    del owner["propertyNames"]
    owner["properties"] = dict.fromkeys(given, False) | chosen
    owner["additionalProperties"] = False
    if pattern and not patterns and others is not False:
        owner["patternProperties"] = {pattern: others}


def _pattern(names: dict[str, Any], asked: frozenset[str] | set[str]) -> str | None:
    """Return the expression of the names that fit a schema of a pattern, or of lengths alone."""
    if asked == {"pattern"}:
        return str(names["pattern"])
    least, most = names.get("minLength", 0), names.get("maxLength", "")
    if (
        asked
        and asked <= _LENGTHS
        and not isinstance(least, float)
        and not isinstance(most, float)
    ):
        return f"^{_ANY}{{{least},{most}}}$"
    return None


def expand_most(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Take `maxProperties` out of a schema; return what holds in its place, if that is known."""
    most, given = owner.get("maxProperties"), owner.get("properties", {})
    closed = owner.get("additionalProperties") is False and not owner.get("patternProperties")
    if not isinstance(most, int) or not closed:
        return []
    required = owner.get("required", [])
    possible = [name for name, schema in given.items() if schema is not False]
    optional = [name for name in possible if name not in required]
    surplus = len(possible) - most
    if surplus > len(optional) or comb(len(optional), max(surplus, 0)) > _MOST_WAYS:
        return []
    del owner["maxProperties"]
    if surplus <= 0:
        return []
    left_out = combinations(optional, surplus)
    return [{"anyOf": [{"properties": dict.fromkeys(each, False)} for each in left_out]}]
