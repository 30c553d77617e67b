"""Reads the schema of a call's arguments as lists of members, each with a schema of its own."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .branches import Branch, Path, Place, Unenforceable, branches, required_in
from .types import types_of

_DATA = frozenset({"enum", "const", "default", "examples"})
_ROOT = "arguments"


class Member(NamedTuple):
    """A property that has a name. Its value fits all of ``places``."""

    name: str
    places: Branch
    required: bool

    @property
    def path(self) -> Path:
        """Return the path of its first schema."""
        return self.places[0].path if self.places else ()


class Others(NamedTuple):
    """Properties whose names fit ``pattern``, or none of the patterns if that is None."""

    pattern: Place | None
    places: Branch


class Members(NamedTuple):
    """The properties of one kind of object; ``least`` and ``most`` count those that are given."""

    named: tuple[Member, ...]
    others: tuple[Others, ...]
    least: Place
    most: Place


def alternatives(parameters: dict[str, Any]) -> list[Members]:
    """Return the kinds of objects that a schema of arguments allows.

    A schema that names its properties allows no others, unless it says so: a model that must call
    would write names of its own. Raises: Unenforceable.
    """
    return members_of(Place(parameters, ()), parameters)


def members_of(place: Place, root: dict[str, Any]) -> list[Members]:
    """Return the kinds of objects that a schema allows. Raises: Unenforceable."""
    spread = [kind for branch in branches(place, root, "object") for kind in _of_values(branch)]
    found = [members for branch in spread if (members := _merged(branch)) is not None]
    if not found:
        names = ("properties", "required", "allOf", "anyOf", "oneOf", "enum", "const", "type")
        schema = place.schema if isinstance(place.schema, dict) else {}
        keyword = next((name for name in names if name in schema), None)
        path = place.path if keyword is None else (*place.path, keyword)
        raise Unenforceable(path, "no object fits the schema")
    return found


def combined(places: Branch) -> Any:
    """Return one schema that stands for several."""
    schemas = [place.schema for place in places if place.schema not in (True, {})]
    if len(schemas) == 1:
        return schemas[0]
    return {"allOf": schemas} if schemas else True


def as_one(places: Branch) -> Place:
    """Return one place that stands for several, with the path of the first."""
    if len(places) == 1:
        return places[0]
    return Place(combined(places), places[0].path if places else ())


def document(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Return a schema by itself, with the arguments' schema in its definitions if it refers there."""
    alone = {} if schema is True else schema
    moved = _moved(alone)
    if moved == alone:
        return dict(moved)
    return {**moved, "$defs": {_ROOT: _moved(root)}}


def _moved(schema: Any) -> Any:
    """Return a schema whose references lead to the root at its new place."""
    if isinstance(schema, list):
        return [_moved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{_ROOT}{value[1:]}"
        if key == "$ref" and isinstance(value, str) and value[:2] in ("#", "#/")
        else value
        if key in _DATA
        else _moved(value)
        for key, value in schema.items()
    }


def _of_values(branch: Branch) -> list[Branch]:
    """Spread `enum` and `const`, whose objects are told by the values of their properties."""
    found: list[Branch] = [branch]
    for place in branch:
        for keyword in ("enum", "const"):
            if keyword not in place.schema:
                continue
            values = place.schema[keyword] if keyword == "enum" else [place.schema[keyword]]
            objects = [value for value in values if isinstance(value, dict)]
            path = (*place.path, keyword)
            found = [
                (*kind, Place(_exactly(value), path)) for kind in found for value in objects
            ]
    return found


def _exactly(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "properties": {name: {"const": each} for name, each in value.items()},
        "required": list(value),
        "additionalProperties": False,
    }


def _merged(branch: Branch) -> Members | None:
    """Return the members of an object that fits all schemas of a branch; None if none does."""
    required = {name for place in branch for name in required_in(place.schema)}
    names = [name for place in branch for name in _properties(place)]
    names += [name for place in branch for name in required_in(place.schema)]
    named: list[Member] = []
    for name in dict.fromkeys(names):
        places = tuple(
            found for place in branch if (found := _schema_of(place, name)) is not None
        )
        if any(place.schema is False for place in places):
            if name in required:
                return None
            continue
        named.append(Member(name, places, name in required))
    return Members(
        tuple(named),
        tuple(_others(branch, closed=bool(names))),
        _limit(branch, "minProperties", max),
        _limit(branch, "maxProperties", min),
    )


def _properties(place: Place) -> dict[str, Any]:
    found = place.schema.get("properties")
    return found if isinstance(found, dict) else {}


def _patterns(place: Place) -> dict[str, Any]:
    found = place.schema.get("patternProperties")
    return found if isinstance(found, dict) else {}


def _schema_of(place: Place, name: str) -> Place | None:
    """Return the schema that one of a branch's schemas gives a property; None if it does not care."""
    found = [place.below("properties", name)] if name in _properties(place) else []
    for pattern in _patterns(place):
        below = place.below("patternProperties", pattern)
        try:
            fits = re.search(pattern, name)
        except re.error:
            raise Unenforceable(below.path[:-1], f"`{pattern}` can't be read") from None
        if fits:
            found.append(below)
    if not found and "additionalProperties" in place.schema:
        return place.below("additionalProperties")
    if len(found) > 1:
        return Place(combined(tuple(found)), found[0].path)
    return found[0] if found else None


def _others(branch: Branch, *, closed: bool) -> list[Others]:
    """Return the properties that have no name in the schemas.

    Several schemas that tell of them are not combined: then there are none, which fits all.
    """
    telling = [p for p in branch if "additionalProperties" in p.schema or _patterns(p)]
    if not telling:
        return [] if closed else [Others(None, ())]
    if len(telling) > 1:
        return []
    (place,) = telling
    path = (*place.path, "patternProperties")
    found = [
        Others(Place(pattern, path), (Place(schema, (*path, pattern)),))
        for pattern, schema in _patterns(place).items()
        if schema is not False
    ]
    if "additionalProperties" in place.schema:
        if place.schema["additionalProperties"] is not False:
            found.append(Others(None, (place.below("additionalProperties"),)))
    elif not closed and not found:
        found.append(Others(None, ()))
    return found


def _limit(branch: Branch, keyword: str, choose: Any) -> Place:
    """Return the narrowest limit of a branch with its path; a branch without one gives a schema None."""
    given = [
        place.below(keyword)
        for place in branch
        if isinstance(place.schema.get(keyword), int | float)
    ]
    if not given:
        return Place(None, ())
    return choose(given, key=lambda place: place.schema)  # type: ignore[no-any-return]


class Parameters:
    """The schemas of the arguments of one tool, by name, for the reader of a call."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._root = parameters
        self._known: dict[str, list[Any]] = {}
        self._others: list[Others] = []
        try:
            for kind in alternatives(parameters):
                for member in kind.named:
                    self._add(member.name, combined(member.places))
                self._others += kind.others
        except Unenforceable:
            found = parameters.get("properties")
            for name, schema in found.items() if isinstance(found, dict) else ():
                self._add(name, schema)

    def _add(self, name: str, schema: Any) -> None:
        schemas = self._known.setdefault(name, [])
        if schema not in schemas:
            schemas.append(schema)

    def schema(self, name: str) -> Any:
        """Return the schema of an argument; True if the tool says nothing about it."""
        found = (
            self._known.get(name)
            or [
                combined(others.places)
                for others in self._others
                if others.pattern is None or _fits(str(others.pattern.schema), name)
            ][:1]
        )
        if len(found) > 1:
            return {"anyOf": found}
        return found[0] if found else True

    def types(self, name: str) -> frozenset[str]:
        """Return the types that an argument can have; none if the schema does not tell."""
        return types_of(self.schema(name), self._root)


def _fits(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False
