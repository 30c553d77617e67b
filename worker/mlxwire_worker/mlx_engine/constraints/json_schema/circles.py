"""Copies schemas to where a `$ref` beside other keywords or in a choice names them.

llguidance merges such a reference with its neighbours, which it can't if the schema leads back there,
and tells the choices of `oneOf` apart only if it sees them whole. So each schema of a property or an
item that has references becomes a definition, to which a `$ref` without neighbours leads.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from ....output.tool_calls.schemas.branches import referenced
from .schemas import REFERENCED, keywords

CIRCULAR = "circular references with sibling keys"
"""llguidance's words for a `$ref` that leads back to itself and has other keywords beside it."""
MERGED = (CIRCULAR, "oneOf constraints are not supported")
"""llguidance's words for references that it can't merge, and for choices that it then can't tell apart."""
_ALONE = ("draft-03", "draft-04", "draft-06", "draft-07")
"""Drafts in which the keywords beside a `$ref` have no effect."""
_CHOICES = ("allOf", "anyOf", "oneOf")
_NAMED = ("properties", "patternProperties")
_OTHERS = ("additionalProperties", "items", "additionalItems")
_LISTS = ("prefixItems", "items")
_BASES = frozenset({"$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor"})
"""Keywords that change what a `$ref` below them names."""
_BESIDE = REFERENCED | _BASES | {"$ref", "$schema"}
_MOST_BYTES = 1 << 18


def with_lone_references(schema: Any) -> Any:
    """Return a schema without the keywords beside a `$ref`, if its draft gives them no effect.

    llguidance heeds them in every draft, and would tell choices of `oneOf` apart by them.
    """
    draft = schema.get("$schema") if isinstance(schema, dict) else None
    if not isinstance(draft, str) or not any(each in draft for each in _ALONE):
        return schema
    changed = copy.deepcopy(schema)
    for path, owner in list(keywords(changed)):
        if path[-1] == "$ref" and isinstance(owner["$ref"], str):
            for keyword in owner.keys() - _BESIDE:
                del owner[keyword]
    return changed


class _TooLarge(Exception):
    """Raised for a schema whose copies are too many."""


def unrolled(schema: Any) -> Any | None:
    """Return a schema of which no reference has neighbours; None if that is not possible."""
    if not isinstance(schema, dict):
        return None
    return _Unrolling(schema).run()


class _Unrolling:
    """Unrolls one schema, the root."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._made: dict[str, Any] = {}
        """The new definitions, by their names."""
        self._names: dict[str, str] = {}
        """Those names, by the schema that each was made of, in JSON."""
        self._size = 0

    def run(self) -> Any | None:
        """Return the schema; None if it is too large."""
        try:
            whole = self._flat(self._root, ())
            for keyword in REFERENCED & whole.keys():
                whole[keyword] = {
                    name: self._flat(each, (f"#/{keyword}/{name}",))
                    for name, each in whole[keyword].items()
                }
        except (_TooLarge, RecursionError):
            return None
        whole["$defs"] = {**whole.get("$defs", {}), **self._made}
        return whole

    def _flat(self, schema: Any, within: tuple[str, ...]) -> Any:
        """Return a schema in which the references that are merged are copies of what they name."""
        if not isinstance(schema, dict) or (schema.keys() == {"$ref"} and not within):
            return schema
        flat = dict(schema)
        reference = flat.get("$ref")
        copied = isinstance(reference, str) and reference not in within
        if copied and (target := self._target(str(reference))) is not None:
            del flat["$ref"]
            flat["allOf"] = [*flat.get("allOf", []), target]
            within = (*within, str(reference))
        for keyword in _CHOICES:
            if isinstance(flat.get(keyword), list):
                flat[keyword] = [self._flat(each, (*within, "")) for each in flat[keyword]]
        for keyword in _NAMED:
            if isinstance(flat.get(keyword), dict):
                flat[keyword] = {
                    name: self._apart(each) for name, each in flat[keyword].items()
                }
        for keyword in _OTHERS:
            if isinstance(flat.get(keyword), dict):
                flat[keyword] = self._apart(flat[keyword])
        for keyword in _LISTS:
            if isinstance(flat.get(keyword), list):
                flat[keyword] = [self._apart(each) for each in flat[keyword]]
        return flat

    def _apart(self, schema: Any) -> Any:
        """Return a reference to a schema of a property or an item, which becomes a definition."""
        written = json.dumps(schema)
        if '"$ref"' not in written or schema.keys() == {"$ref"}:
            return schema
        if written not in self._names:
            self._count(written)
            taken = {**self._root.get("$defs", {}), **self._made}
            name = next(each for each in map(str, range(len(taken) + 1)) if each not in taken)
            self._names[written] = name
            self._made[name] = True
            self._made[name] = self._flat(schema, ("",))
        return {"$ref": f"#/$defs/{self._names[written]}"}

    def _count(self, written: str) -> None:
        self._size += len(written)
        if self._size > _MOST_BYTES:
            raise _TooLarge

    def _target(self, reference: str) -> Any | None:
        """Return the schema that a reference names, if it means the same in every place."""
        place = referenced(reference, self._root)
        if place is None or not isinstance(place.schema, dict):
            return None
        left_out = REFERENCED | {"$schema", *(_BASES if place.path == () else ())}
        target = {name: value for name, value in place.schema.items() if name not in left_out}
        if any(path[-1] in _BASES for path, _ in keywords(target)):
            return None
        self._count(json.dumps(target))
        return target
