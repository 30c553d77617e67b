"""JSON Schema 2020-12 of every message, generated from the types (SPEC §8).

`python -m mlxwire_protocol.schema` prints it; `protocol/schema/` keeps a copy for readers.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, get_args

import msgspec
import orjson

from .commands import COMMANDS, FEATURES, EngineName, Row, actions_of
from .errors import WORKER_CODES
from .messages import Command
from .replies import (
    CancelledDone,
    CancelledTraining,
    Done,
    ErrorBody,
    FormattedDone,
    Item,
    ThinkingToken,
    ToolDone,
)
from .results import REPLY_TYPES

SCHEMA_ID = "urn:mlxwire:protocol:1"


def protocol_schema() -> dict[str, Any]:
    """Return the schema: ``$defs`` of all types, ``request`` and ``reply`` as unions."""
    _, definitions = msgspec.json.schema_components(
        [*_request_types(), *REPLY_TYPES], ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
    _, sent = msgspec.json.schema_components(REPLY_TYPES)
    _tell_what_is_sent({name: definitions[name] for name in sent})
    requests = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _request_types()]
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
        "x-commands": {name: _described(row) for name, row in COMMANDS.items()},
        "x-features": {name: _by_engine(engines) for name, engines in FEATURES.items()},
    }


def _request_types() -> list[type[Command]]:
    return [row.request for row in COMMANDS.values()]


def _described(row: Row) -> dict[str, Any]:
    """Convert a row of the table of commands to JSON, for the tests of other languages."""
    described: dict[str, Any] = {
        "request": row.request.__name__,
        "final": row.final,
        "lane": row.lane,
        "needs_model": row.needs_model,
        "capability": _by_engine(row.engines),
    }
    if actions := {each.action: {"lane": each.lane} for each in actions_of(row.name)}:
        described["actions"] = actions
    return described


def _by_engine(engines: frozenset[EngineName]) -> dict[str, bool]:
    return {engine: engine in engines for engine in get_args(EngineName)}


def schema_text() -> str:
    """Return the document as the text of the file in `protocol/schema/`."""
    return orjson.dumps(
        protocol_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    ).decode()


def _tell_what_is_sent(definitions: dict[str, Any]) -> None:
    """Correct the replies' schema, in which msgspec describes all that it would accept.

    The worker writes all fields of a reply, whatever their defaults; only `Item` and
    `ThinkingToken` leave some out.
    """
    for name, definition in definitions.items():
        for field in definition["properties"].values():
            field.pop("default", None)
        if name == ThinkingToken.__name__:
            definition["required"].append("channel")
        elif name != Item.__name__:
            definition["required"] = list(definition["properties"])
    reasons: list[str] = definitions[Done.__name__]["properties"]["finish_reason"]["enum"]
    called = set(reasons) - {"cancelled"}
    ended = called - {"tool_calls"}
    for kind, allowed in (
        (Done, ended),
        (FormattedDone, ended),
        (ToolDone, called),
        (CancelledDone, {"cancelled"}),
        (CancelledTraining, {"cancelled"}),
    ):
        properties = definitions[kind.__name__]["properties"]
        properties["finish_reason"] = {"enum": sorted(allowed)}
    definitions[ErrorBody.__name__]["properties"]["code"] = {"enum": list(WORKER_CODES)}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
