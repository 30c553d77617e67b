"""Leaves out the choices of `enum` that other keywords beside it refuse.

llguidance and the grammars of calls write each choice of the list, and ignore some keywords beside it.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from mlxwire_protocol import WireError

from ....output.tool_calls.schemas.members import document
from .schemas import keywords
from .validation import Validator

_WITHOUT_EFFECT = frozenset(
    {"enum", "type", "title", "description", "default", "examples", "deprecated", "$comment"}
)
"""Keywords that refuse no choice, or that every reader of choices heeds."""


def with_fitting_choices(schema: Any) -> Any:
    """Return a schema without the choices that its other keywords refuse, unless they refuse all."""
    changed = copy.deepcopy(schema)
    for path, owner in list(keywords(changed)):
        choices = owner.get("enum")
        if path[-1] == "enum" and isinstance(choices, list) and owner.keys() - _WITHOUT_EFFECT:
            try:
                validator = Validator(document(owner, changed))
            except WireError:
                continue  # an invalid schema, which is refused elsewhere
            fitting = [each for each in choices if validator.accepts(json.dumps(each))]
            owner["enum"] = fitting or choices
    return changed


def listed_choices(schema: dict[str, Any], root: Any) -> list[Any] | None:
    """Return all values of a schema that lists them within `allOf`; None if that is not known.

    Some validators note a format only, so a schema with one is left as it is.
    """
    parts = schema.get("allOf")
    if any(path[-1] == "format" for path, _ in keywords(schema)):
        return None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict) or not part.keys() & {"enum", "const"}:
            continue
        values = part["enum"] if "enum" in part else [part["const"]]
        try:
            validator = Validator(document(schema, root))
        except WireError:
            return None
        return [each for each in values if validator.accepts(json.dumps(each))] or None
    return None
