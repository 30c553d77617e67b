"""Walks JSON Schemas: finds keywords, and rewrites those that llguidance reads too loosely.

A rewritten schema has the instances of the one that the user gave, less some that no model needs:
a text that fits it fits the user's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import combinations
from math import comb
from typing import Any

from ....output.tool_calls.schemas.branches import Path, apart, referenced
from .patterns import for_llguidance
from .string_formats import BASE64, EXACT_FORMATS

REFERENCED = frozenset({"$defs", "definitions"})
"""Keywords that hold schemas which act only where a `$ref` names them."""
_OF_SCHEMAS = REFERENCED | {"properties", "patternProperties", "dependentSchemas"}
"""Keywords whose objects have names of the user's choice, with a schema under each."""
_OF_VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords whose values are data and no schemas."""
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OF_NUMBERS = _BOUNDS | {"enum", "const", "multipleOf"}
_OF_COUNTS = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)
_OF_CONTENT = frozenset({"contentEncoding", "contentMediaType"})
_MOST_EXACT = 1 << 53
"""llguidance reads numbers as 64-bit floats, which tell larger integers no longer apart."""

_LARGEST_STEP = 10_000
"""The largest `multipleOf`, without its decimal point, that compiles in about 0.2 s."""

_COMBINING = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if"})
_MOST_WAYS = 64
"""The most choices among optional properties to which a `minProperties` is spread."""

_WHITE = re.compile(r"\\[sS]")
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f]"
    r"|(?<!-)\\(?:x[01][0-9A-Fa-f]|x7[fF]|u00[01]|u007[fF]|[xu]\{|U|c[A-Za-z]|0|a|v)(?!-|[0-9A-Fa-f]-)"
)
"""Control characters as themselves, and as a pattern spells them outside a range."""
_WITH_TUPLES = "https://json-schema.org/draft/2019-09/schema"


def pointer(path: Path) -> str:
    """Return the JSON Pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def keywords(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each keyword's path and the schema that has it; those inside a keyword's value first."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from keywords(each, (*path, index))
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        below = (*path, name)
        if name in _OF_SCHEMAS and isinstance(value, dict):
            for key, each in value.items():
                yield from keywords(each, (*below, key))
        elif name not in _OF_VALUES:
            yield from keywords(value, below)
        yield below, schema


def without(schema: Any, paths: list[Path]) -> Any:
    """Return a copy of a schema that lacks the keywords at ``paths``, inner ones first."""
    changed = copy.deepcopy(schema)
    for path in paths:
        owner = changed
        for part in path[:-1]:
            owner = owner[part]
        del owner[path[-1]]
    return changed


def with_draft(schema: Any) -> Any:
    """Return a schema that names its draft, where it lists `items` as only older drafts do."""
    if isinstance(schema, dict) and "$schema" not in schema:
        for path, owner in keywords(schema):
            if path[-1] == "items" and isinstance(owner["items"], list):
                return {"$schema": _WITH_TUPLES, **schema}
    return schema


def tightened(schema: Any) -> Any:
    """Return a schema that llguidance enforces whole, where it reads ``schema`` too loosely."""
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    changed = copy.deepcopy(schema)
    changed.pop("x-guidance", None)  # options of llguidance, which are not the user's to set
    for path, owner in list(keywords(changed)):
        _tighten(owner, str(path[-1]))
    for path, owner in list(keywords(changed)):
        _rewrite_patterns(owner, str(path[-1]))
    return changed


def _rewrite_patterns(owner: dict[str, Any], keyword: str) -> None:
    value = owner[keyword]
    if keyword == "pattern" and isinstance(value, str):
        owner["pattern"] = for_llguidance(value)
    elif keyword == "patternProperties" and isinstance(value, dict):
        rewritten = {for_llguidance(name): each for name, each in value.items()}
        if len(rewritten) == len(value):  # llguidance refuses two names that can match one
            owner[keyword] = rewritten


def _tighten(owner: dict[str, Any], keyword: str) -> None:
    value = owner.get(keyword)
    if keyword in _OF_COUNTS and isinstance(value, float) and value.is_integer():
        value = owner[keyword] = int(value)  # llguidance refuses 2.0
    if keyword == "format" and isinstance(value, str) and value in EXACT_FORMATS:
        del owner["format"]
        exact = EXACT_FORMATS[value]
        for pattern in exact.patterns:
            _add_pattern(owner, pattern)
        if exact.most is not None:
            _lower_most(owner, exact.most)
    elif keyword == "contentEncoding" and value == "base64":
        _add_pattern(owner, BASE64)
    elif keyword == "minProperties" and (ways := _ways_to_have(owner)):
        del owner["minProperties"]
        owner.setdefault("allOf", []).append({"anyOf": ways})
    elif keyword == "oneOf" and (ways := _exactly_one(value)):
        del owner["oneOf"]
        owner.setdefault("allOf", []).append({"anyOf": ways})
    elif keyword == "uniqueItems" and value is False:
        del owner["uniqueItems"]
    elif keyword == "additionalItems" and "prefixItems" in owner:
        # No keyword of the draft that has `prefixItems`, which llguidance would then ignore.
        del owner["additionalItems"]
    elif keyword == "pattern" and isinstance(value, str) and _WHITE.search(value):
        # ECMA-262 and Rust's crate `regex` disagree if these two are white space.
        _add_pattern(owner, "^[^\\ufeff\\u0085]*$")


def _exactly_one(choices: Any) -> list[dict[str, Any]]:
    """Return schemas for objects that fit just one of the schemas; none if that is not known."""
    plain = isinstance(choices, list) and all(
        isinstance(choice, dict) and choice.get("required") and not choice.keys() & _COMBINING
        for choice in choices
    )
    return (apart(choices) or []) if plain else []


def _ways_to_have(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return schemas of which one holds if an object has its `minProperties`; none if that is unknown.

    llguidance counts the required properties alone.
    """
    least, given = owner["minProperties"], owner.get("properties")
    required = owner.get("required", [])
    if not (isinstance(least, int) and isinstance(given, dict) and isinstance(required, list)):
        return []
    missing = least - len(required)
    optional = [
        name for name, schema in given.items() if name not in required and schema is not False
    ]
    if not 0 < missing <= len(optional) or comb(len(optional), missing) > _MOST_WAYS:
        return []
    return [{"required": list(names)} for names in combinations(optional, missing)]


def _add_pattern(owner: dict[str, Any], pattern: str) -> None:
    if "pattern" not in owner:
        owner["pattern"] = pattern
    elif isinstance(parts := owner.setdefault("allOf", []), list):
        parts.append({"pattern": pattern})


def _lower_most(owner: dict[str, Any], most: int) -> None:
    if not isinstance(length := owner.setdefault("maxLength", most), int) or length > most:
        owner["maxLength"] = most


def without_hard_numbers(schema: Any) -> Any:
    """Return a schema without steps that would take minutes to compile, and bounds that are misread."""
    hard = [
        path
        for path, owner in keywords(schema)
        if (path[-1] == "multipleOf" and _is_slow(owner["multipleOf"]))
        or (path[-1] in _BOUNDS and _is_large(owner[path[-1]]))
    ]
    return without(schema, hard) if hard else schema


def _is_slow(step: Any) -> bool:
    """Return True for a step whose automaton is large: it has a state for each remainder."""
    if isinstance(step, bool) or not isinstance(step, int | float):
        return False
    digits = "".join(map(str, Decimal(repr(step)).as_tuple().digits))
    return int(digits) > _LARGEST_STEP or abs(step) > _LARGEST_STEP


def loose_keyword(schema: Any) -> tuple[Path, str] | None:
    """Return a keyword that llguidance would enforce only in part, and the reason; None if none."""
    asserted = _asserts_content(schema)
    ending: set[str] = set()
    for path, owner in keywords(schema):
        keyword = str(path[-1])
        if asserted and keyword in _OF_CONTENT and owner[keyword] != "base64":
            return path, "the content of a string is not checked"
        if keyword == "$ref" and _leads_to_itself(owner, schema, ending):
            return path, "it leads to itself, so nothing fits it"
        if reason := _looseness(owner, keyword):
            return path, reason
    return None


def _leads_to_itself(owner: dict[str, Any], schema: Any, ending: set[str]) -> bool:
    """Return True if a reference leads through references alone back to one of them.

    The others are added to ``ending``, so that a chain is followed once and not from each link.
    """
    seen: set[str] = set()
    found: Any = owner
    while isinstance(found, dict) and isinstance(reference := found.get("$ref"), str):
        if reference in seen:
            return True
        if reference in ending:
            break
        seen.add(reference)
        target = referenced(reference, schema)
        found = target and target.schema
    ending |= seen
    return False


def _asserts_content(schema: Any) -> bool:
    """Return True for a draft whose validators check a string's content; later ones note it only."""
    draft = schema.get("$schema") if isinstance(schema, dict) else None
    return isinstance(draft, str) and any(each in draft for each in ("draft-06", "draft-07"))


def _looseness(owner: dict[str, Any], keyword: str) -> str | None:
    value = owner[keyword]
    if keyword == "multipleOf" and _is_slow(value):
        return f"a step of more than {_LARGEST_STEP} takes too long to compile"
    if keyword in _OF_NUMBERS and any(_is_large(each) for each in _values(value)):
        return f"integers beyond {_MOST_EXACT} are not told apart"
    if keyword in ("const", "enum", "pattern", "patternProperties"):
        texts = value if keyword == "patternProperties" else _values(value)
        if any(isinstance(each, str) and _CONTROLS.search(each) for each in texts):
            return "control characters can't be written"
    if (
        keyword == "minProperties"
        and isinstance(value, int | float)
        and not _ways_to_have(owner)
    ):
        required = owner.get("required")
        sure = len(required) if isinstance(required, list) else 0
        if value - sure > 1:
            return "names that the model chooses could repeat, and count twice"
    return None


def _values(value: Any) -> Iterator[Any]:
    """Yield the strings, numbers and other values without parts within a JSON value."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _values(each)
    else:
        yield value


def _is_large(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) > _MOST_EXACT
