"""JSON Schema 2020-12 of every message, generated from the types (SPEC §8)."""

from __future__ import annotations

from typing import Any

import msgspec

from .messages import COMMANDS
from .replies import REPLY_TYPES

SCHEMA_ID = "mlxwire-protocol-1"


def protocol_schema() -> dict[str, Any]:
    """One document: ``$defs`` of all types, ``request`` and ``reply`` as unions of them."""
    _, definitions = msgspec.json.schema_components(
        [*COMMANDS.values(), *REPLY_TYPES], ref_template="#/$defs/{name}"
    )
    requests = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in COMMANDS.values()]
    replies = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in REPLY_TYPES]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "mlxwire protocol 1",
        "$defs": {
            **definitions,
            "request": {"oneOf": requests},
            "reply": {"anyOf": replies},
        },
        "anyOf": [{"$ref": "#/$defs/request"}, {"$ref": "#/$defs/reply"}],
    }
