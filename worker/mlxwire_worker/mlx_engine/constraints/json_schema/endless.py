"""Finds schemas that no finite text fits, because they require themselves.

A node of a list that must have a next node never ends. A grammar of it lets the model begin such a
text, which then goes on until the tokens are used up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from ....output.tool_calls.schemas.branches import Path, referenced
from .schemas import keywords

_SCALARS = frozenset({"null", "boolean", "number", "integer", "string"})
_Ends = Callable[[Path, Any], bool]
"""Returns True if a finite text fits the schema at a path, as far as is known."""


def without_endless(schema: Any) -> Any:
    """Return a schema with `false` at each place that no finite text fits; ``schema`` if none.

    It has the same finite instances. If the whole schema is such a place, that is `False`.
    """
    places = _endless_places(schema)
    if () in places:
        return False
    return _with_false(schema, (), places) if places else schema


def endless_reference(schema: Any) -> Path | None:
    """Return the path of a `$ref` through which a schema requires itself."""
    places = _endless_places(schema)
    for path, owner in keywords(schema):
        if path[-1] == "$ref" and isinstance(owner["$ref"], str) and path[:-1] in places:
            target = referenced(owner["$ref"], schema)
            if target is not None and target.path in places:
                return path
    return None


def _endless_places(schema: Any) -> set[Path]:
    """Return the paths of all subschemas that no finite text fits.

    At first none is known to end. Whatever ends without the others does, and then what needs only
    such ones, until nothing is added (a least fixed point).
    """
    nodes: dict[Path, dict[str, Any]] = {path[:-1]: owner for path, owner in keywords(schema)}
    if not any("$ref" in node for node in nodes.values()) or _has_parts_with_names(nodes):
        return set()
    ending: set[Path] = set()
    users: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in nodes:
        for used in _used(nodes[path], path, schema):
            users[used].append(path)

    def ends(path: Path, value: Any) -> bool:
        return path in ending if path in nodes else value is not False

    waiting = list(nodes)
    while waiting:
        path = waiting.pop()
        if path not in ending and _node_ends(nodes[path], path, schema, ends):
            ending.add(path)
            waiting += users[path]
    return set(nodes) - ending


def _has_parts_with_names(nodes: dict[Path, dict[str, Any]]) -> bool:
    """Return True if a `$ref` may count from another place than the root."""
    return any(
        path and isinstance(node.get(name), str)
        for path, node in nodes.items()
        for name in ("$id", "id")
    )


def _used(node: dict[str, Any], path: Path, root: Any) -> Iterator[Path]:
    """Yield the paths of the subschemas on which it may depend whether a text ends."""
    if (target := _target(node, root)) is not None:
        yield target[0]
    for keyword in ("properties", "allOf", "anyOf", "oneOf", "prefixItems", "items"):
        value = node.get(keyword)
        if keyword == "items" and isinstance(value, dict):
            yield (*path, keyword)
            continue
        places = value if isinstance(value, dict) else range(len(_listed(value)))
        for place in places:
            yield (*path, keyword, place)


def _node_ends(node: dict[str, Any], path: Path, root: Any, ends: _Ends) -> bool:
    target = _target(node, root)
    if target is not None and not ends(*target):
        return False

    def each(keyword: str) -> Iterator[bool]:
        for at, value in enumerate(_listed(node.get(keyword))):
            yield ends((*path, keyword, at), value)

    if not all(each("allOf")):
        return False
    for keyword in ("anyOf", "oneOf"):
        if _listed(node.get(keyword)) and not any(each(keyword)):
            return False
    return _type_ends(node, path, ends)


def _type_ends(node: dict[str, Any], path: Path, ends: _Ends) -> bool:
    """Return True if a value of one of the schema's types ends."""
    if "const" in node or "enum" in node:
        return True
    types = node.get("type")
    allowed = set(types) if isinstance(types, list) else {types}
    if not isinstance(types, list | str) or allowed & _SCALARS:
        return True
    return ("object" in allowed and _object_ends(node, path, ends)) or (
        "array" in allowed and _array_ends(node, path, ends)
    )


def _object_ends(node: dict[str, Any], path: Path, ends: _Ends) -> bool:
    properties, required = node.get("properties"), node.get("required")
    if not isinstance(properties, dict):
        return True
    names = [name for name in _listed(required) if isinstance(name, str) and name in properties]
    return all(ends((*path, "properties", name), properties[name]) for name in names)


def _array_ends(node: dict[str, Any], path: Path, ends: _Ends) -> bool:
    least, items = node.get("minItems"), node.get("items")
    if not isinstance(least, int | float):
        return True
    keyword = "items" if isinstance(items, list) else "prefixItems"
    first = _listed(node.get(keyword))
    for at, value in enumerate(first[: int(least)]):
        if not ends((*path, keyword, at), value):
            return False
    return least <= len(first) or isinstance(items, list) or ends((*path, "items"), items)


def _target(node: dict[str, Any], root: Any) -> tuple[Path, Any] | None:
    reference = node.get("$ref")
    found = referenced(reference, root) if isinstance(reference, str) else None
    return None if found is None else (found.path, found.schema)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _with_false(value: Any, path: Path, places: set[Path]) -> Any:
    if path in places:
        return False
    if isinstance(value, dict):
        return {name: _with_false(each, (*path, name), places) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_false(each, (*path, at), places) for at, each in enumerate(value)]
    return value
