"""Tools with typed parameters, and the calls in an answer with their arguments decoded."""

from __future__ import annotations

import json
from typing import Any

from mlxwire_worker.output.pieces import CallFailed, Text
from mlxwire_worker.output.tool_calls.family import Family, Tool, Tools

from .cuts import Call, read

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "ratio": {"type": "number"},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "more": {"$ref": "#/$defs/more"},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
    },
    "required": ["city"],
    "$defs": {"more": {"type": "object"}},
}
TOOLS = Tools(
    [
        Tool(name="weather", parameters=WEATHER),
        Tool(name="now", parameters={"type": "object", "properties": {}}),
        Tool(name="any-thing.2", parameters={}),
    ]
)


def decoded(family: Family, text: str, tools: Tools = TOOLS) -> list[Any]:
    """Return an answer's parts: each call as its name and arguments, failures as `CallFailed`."""
    return [
        (part.name, json.loads(part.arguments))
        if isinstance(part, Call)
        else part.text
        if isinstance(part, Text)
        else part
        for part in read(family, tools, text)
    ]


def failure(family: Family, text: str) -> CallFailed:
    """Return the failure with which an answer begins."""
    first = decoded(family, text)[0]
    assert isinstance(first, CallFailed)
    return first
