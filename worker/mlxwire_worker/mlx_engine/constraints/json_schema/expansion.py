"""Expands keywords that llguidance does not know into those that it does, with the same instances."""

from __future__ import annotations

import copy
from typing import Any

from .choices import listed_choices
from .names import expand_most, expand_names
from .negation import NOTHING, NotNegated, any_of, lacking, negated
from .schemas import REFERENCED, keywords

_KEPT = REFERENCED | {"$schema", "$id", "id"}
"""Keywords that stay beside a list of all values."""
_DEPENDENCIES = ("dependentRequired", "dependentSchemas", "dependencies")
_MOST_CHOICES = 6
"""Choices of one schema that are expanded: the grammar has a part for each combination of them."""


def expanded(schema: Any) -> Any | None:
    """Return a schema without `not`, `if`, `oneOf`, dependencies, `propertyNames` and `maxProperties`.

    Those that can't be expanded stay.

    None if there is nothing to expand.
    """
    changed = copy.deepcopy(schema)
    owners = {id(owner): (len(path), owner) for path, owner in keywords(changed)}
    # Outer schemas first: what an inner one expands to can't always be negated.
    for _, owner in sorted(owners.values(), key=lambda each: each[0]):
        if (values := listed_choices(owner, schema)) is not None:
            for keyword in owner.keys() - _KEPT:
                del owner[keyword]
            owner["enum"] = values
            continue
        expand_names(owner)
        added = [*_of_not(owner), *_of_if(owner), *_of_dependencies(owner), *_of_one_of(owner)]
        added += expand_most(owner)
        if added:
            owner["allOf"] = [*owner.get("allOf", []), *added]
    return None if changed == schema else changed


def without_dependencies(schema: Any) -> Any:
    """Return a schema whose dependencies are choices. A lenient llguidance would ignore them."""
    changed = copy.deepcopy(schema)
    for owner in {id(owner): owner for _, owner in keywords(changed)}.values():
        if added := _of_dependencies(owner):
            owner["allOf"] = [*owner.get("allOf", []), *added]
    return changed


def _of_not(owner: dict[str, Any]) -> list[dict[str, Any]]:
    if "not" not in owner:
        return []
    try:
        opposite = negated(owner["not"])
    except NotNegated:
        return []
    if opposite == NOTHING:  # more likely a mistake than a wish, so it is refused by name
        return []
    del owner["not"]
    return [opposite]


def _of_if(owner: dict[str, Any]) -> list[dict[str, Any]]:
    if "if" not in owner:
        for idle in ("then", "else"):
            owner.pop(idle, None)
        return []
    condition = owner["if"]
    try:
        opposite = negated(condition)
    except NotNegated:
        return []
    del owner["if"]
    then, other = owner.pop("then", True), owner.pop("else", True)
    return [any_of([{"allOf": [condition, then]}, {"allOf": [opposite, other]}])]


def _of_dependencies(owner: dict[str, Any]) -> list[dict[str, Any]]:
    added: list[dict[str, Any]] = []
    for keyword in _DEPENDENCIES:
        needs = owner.get(keyword)
        if not isinstance(needs, dict) or len(needs) > _MOST_CHOICES:
            continue
        del owner[keyword]
        for name, need in needs.items():
            needed = {"required": need} if isinstance(need, list) else _with_name(need, name)
            present = {"required": [name], "allOf": [needed]}
            added.append({"anyOf": [present, lacking(name)]})
    return added


def _with_name(schema: Any, name: str) -> Any:
    """Return a schema whose choices require a property that is there: so they can be told apart."""
    choices = schema.get("oneOf") if isinstance(schema, dict) else None
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        return schema
    named = [{**each, "required": [*each.get("required", []), name]} for each in choices]
    return {**schema, "oneOf": named}


def _of_one_of(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a choice of which each part excludes the others."""
    choices = owner.get("oneOf")
    if not isinstance(choices, list) or len(choices) > _MOST_CHOICES:
        return []
    try:
        others = [negated(choice) for choice in choices]
    except NotNegated:
        return []
    del owner["oneOf"]
    parts = [
        {"allOf": [choice, *others[:at], *others[at + 1 :]]}
        for at, choice in enumerate(choices)
    ]
    return [any_of(parts)]
