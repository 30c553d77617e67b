"""Spreads a schema with `$ref`, `allOf`, `anyOf` and `oneOf` into branches without them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

_MOST = 64
DEEPEST_REFERENCE = 16
"""The most `$ref` that lead to each other; more lead in a circle."""
_CONDITIONS = (
    "not",
    "if",
    "propertyNames",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
)
"""Keywords that no list of members and no pattern of a text can carry."""


class Unenforceable(ValueError):
    """Raised for a keyword that a form of calls can't enforce; ``path`` leads to it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class Place(NamedTuple):
    """A schema, and the path to it in the schema of the arguments."""

    schema: Any
    path: Path

    def below(self, *steps: str | int) -> Place:
        """Return the schema to which some steps lead."""
        found = self.schema
        for step in steps:
            found = found[step]
        return Place(found, (*self.path, *steps))


Branch = tuple[Place, ...]
"""Schemas that hold together; of their keywords those are to be read that combine no schemas."""


def branches(place: Place, root: dict[str, Any], kind: str, depth: int = 0) -> list[Branch]:
    """Return the branches of which one must hold for a value of a type; none for `false`.

    Raises: Unenforceable.
    """
    schema = place.schema
    if schema is False or (isinstance(schema, dict) and not _allows(schema.get("type"), kind)):
        return []
    if not isinstance(schema, dict):
        return [()]
    for keyword in _CONDITIONS:
        if keyword in schema and not _is_idle(schema, keyword):
            reason = f"`{keyword}` can't be enforced where each argument stands by itself"
            raise Unenforceable((*place.path, keyword), reason)
    found: list[Branch] = [(place,)]
    if isinstance(reference := schema.get("$ref"), str):
        target = referenced(reference, root)
        if target is None or depth > DEEPEST_REFERENCE:
            raise Unenforceable(
                (*place.path, "$ref"), f"`{reference}` leads to no schema, or to itself"
            )
        found = _both(found, branches(target, root, kind, depth + 1), place, "$ref")
    for at, _ in enumerate(_listed(schema, "allOf")):
        part = branches(place.below("allOf", at), root, kind, depth)
        found = _both(found, part, place, "allOf")
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            choices = [
                branches(place.below(keyword, at), root, kind, depth)
                for at, _ in enumerate(_listed(schema, keyword))
            ]
            if keyword == "oneOf" and kind == "object":
                choices = _told_apart(choices, (*place.path, keyword))
            found = _both(found, [b for choice in choices for b in choice], place, keyword)
    return _with_dependencies(found, place, root, depth) if kind == "object" else found


def referenced(reference: str, root: Any) -> Place | None:
    """Return the part of a schema to which `#/…` points; None if there is no such part."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found, path = root, list[str | int]()
    for step in reference.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            path.append(int(step))
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            path.append(step)
            found = found[step]
        else:
            return None
    return Place(found, tuple(path))


def types_in(declared: Any) -> frozenset[str]:
    """Return the types that the keyword `type` names."""
    names = declared if isinstance(declared, list) else [declared]
    return frozenset(name for name in names if isinstance(name, str))


def _allows(declared: Any, kind: str) -> bool:
    return declared is None or kind in types_in(declared)


def _is_idle(schema: dict[str, Any], keyword: str) -> bool:
    if keyword == "if":
        return not schema.keys() & {"then", "else"}
    value = schema[keyword]
    return value is True or (keyword == "unevaluatedProperties" and value is False)


def _listed(schema: dict[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _both(some: list[Branch], others: list[Branch], place: Place, keyword: str) -> list[Branch]:
    if len(some) * len(others) > _MOST:
        reason = f"`{keyword}` makes more than {_MOST} combinations"
        raise Unenforceable((*place.path, keyword), reason)
    return [a + b for a, b in product(some, others)]


def _with_dependencies(
    found: list[Branch], place: Place, root: dict[str, Any], depth: int
) -> list[Branch]:
    """Add what must hold if a property is there, or forbid that property."""
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        needs = place.schema.get(keyword)
        for name, needed in needs.items() if isinstance(needs, dict) else ():
            path = (*place.path, keyword, name)
            absent: Branch = (_forbidding(name, path),)
            if isinstance(needed, list):
                held: list[Branch] = [(Place({"required": [name, *needed]}, path),)]
            else:
                given = Place({"required": [name]}, path)
                held = [
                    (given, *b) for b in branches(Place(needed, path), root, "object", depth)
                ]
            found = _both(found, [absent, *held], place, keyword)
    return found


def _told_apart(choices: list[list[Branch]], path: Path) -> list[list[Branch]]:
    """Return the branches of `oneOf` so that no object fits two of them. Raises: Unenforceable."""
    told = [list(choice) for choice in choices]
    for i, j in combinations(range(len(choices)), 2):
        for (a, one), (b, other) in product(enumerate(choices[i]), enumerate(choices[j])):
            some, others = _required(one), _required(other)
            if any(_excludes(one, other, name) for name in some | others):
                continue
            if not (some - others and others - some):
                reason = "no required property tells the branches of `oneOf` apart"
                raise Unenforceable(path, reason)
            told[i][a] += (_forbidding(min(others - some), path),)
            told[j][b] += (_forbidding(min(some - others), path),)
    return told


def apart(choices: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return schemas for objects that fit exactly one of some; None if that can't be told.

    None of the given schemas may combine others. Values other than objects fit none of those returned:
    they could fit several of the given ones.
    """
    try:
        told = _told_apart([[(Place(choice, ()),)] for choice in choices], ())
    except Unenforceable:
        return None
    return [
        {"type": "object", "allOf": [place.schema for place in branch]} for (branch,) in told
    ]


def _excludes(one: Branch, other: Branch, name: str) -> bool:
    """Return True if no value of a property fits both branches."""
    some, others = _values_of(one, name), _values_of(other, name)
    if some == [] or others == []:
        return True
    if some is None or others is None:
        return False
    return not any(_equal(a, b) for a in some for b in others)


def _equal(a: Any, b: Any) -> bool:
    """Return True if two values are equal in JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)
    return bool(a == b)


def _values_of(branch: Branch, name: str) -> list[Any] | None:
    """Return the values that a branch allows for a property, none if it forbids it; None if many."""
    for place in branch:
        schema = place.schema
        properties = schema.get("properties")
        known = isinstance(properties, dict) and name in properties
        found = properties[name] if known else schema.get("additionalProperties", True)
        if found is False and (known or "patternProperties" not in schema):
            return []
        if known and isinstance(found, dict) and ("const" in found or "enum" in found):
            values: list[Any] = found["enum"] if "enum" in found else [found["const"]]
            return values
    return None


def _required(branch: Branch) -> set[str]:
    return {name for place in branch for name in required_in(place.schema)}


def required_in(schema: dict[str, Any]) -> Iterable[str]:
    """Return the names that the keyword `required` holds."""
    return [name for name in _listed(schema, "required") if isinstance(name, str)]


def _forbidding(name: str, path: Path) -> Place:
    return Place({"properties": {name: False}}, path)
