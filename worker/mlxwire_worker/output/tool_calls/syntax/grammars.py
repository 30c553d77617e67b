"""Writes grammars of calls whose arguments are JSON, in Lark as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..family import Tool, Tools

_ADDING = frozenset(
    {
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "$ref",
        "$dynamicRef",
    }
    | {"allOf", "anyOf", "oneOf", "if", "dependentSchemas"}
)
"""Keywords by which an object may have properties that its `properties` do not name."""
Write = Callable[[Tool, str], str]
"""Returns one call of a tool as terms of a rule; it is given the term for the arguments."""

_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "json_allowed_escapes": 'nrbtf\\"',
}
"""Models learn JSON with or without a space behind each comma and colon, and write no more of them.

Unicode escapes are left out, because they can be halves of surrogate pairs.
"""


def calls(
    tools: Tools,
    write: Write,
    *,
    parallel: bool,
    begin: str = "",
    end: str = "",
    between: str = "",
) -> str:
    """Return a grammar of one call, or of more if ``parallel``, with terms around and between them."""
    bodies = [write(tool, f"arguments_{at}") for at, tool in enumerate(tools)]
    rules = [f"arguments_{at}: %json {schema(tool)}" for at, tool in enumerate(tools)]
    return sections(bodies, rules, parallel=parallel, begin=begin, end=end, between=between)


def sections(
    bodies: Sequence[str],
    rules: Sequence[str],
    *,
    parallel: bool,
    begin: str = "",
    end: str = "",
    between: str = "",
) -> str:
    """Return a grammar of one call, or of more if ``parallel``; a body for each tool, in terms."""
    more = f"({between} call)*" if parallel else ""
    first = f"start: {begin} call {more} {end}"
    choice = "call: " + " | ".join(f"call_{at}" for at in range(len(bodies)))
    each = [f"call_{at}: {body}" for at, body in enumerate(bodies)]
    return "\n".join([first, choice, *each, *rules]) + "\n"


def object_call(tool: Tool, arguments: str, *, key: str = "arguments") -> str:
    """Return the terms of `{"name": …, "arguments": …}`."""
    return f'{quoted(f"""{{"name": {json.dumps(tool.name)}, "{key}": """)} {arguments} "}}"'


def quoted(text: str) -> str:
    """Return a text as a term."""
    return json.dumps(text, ensure_ascii=False)


def schema(tool: Tool) -> str:
    """Return the JSON Schema of a tool's arguments, which are always an object.

    Keywords that a grammar can't enforce are left to the check of the finished call, unless the tool
    is ``strict``: then llguidance refuses the grammar.
    """
    return value_schema(closed(tool.parameters), strict=tool.strict)


def closed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of arguments that allows no other properties than it names, if it names any.

    A model that must call would write names of its own. A schema may say that it allows others.
    """
    if not _open(parameters):
        required = parameters.get("required")
        unnamed = dict.fromkeys(required, True) if isinstance(required, list) else {}
        named = {**unnamed, **parameters["properties"]}
        parameters = {**parameters, "properties": named, "additionalProperties": False}
    return {**parameters, "type": "object"}


def _open(parameters: dict[str, Any]) -> bool:
    return "properties" not in parameters or bool(parameters.keys() & _ADDING)


def value_schema(schema: dict[str, Any], *, strict: bool) -> str:
    """Return a JSON Schema with the layout in which models write JSON."""
    layout = {**_LAYOUT, "lenient": not strict, "coerce_one_of": not strict}
    return json.dumps({**schema, "x-guidance": layout})
