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
