"""Checks that a worker's lines keep to the wire: one JSON object a line, by the schema."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from mlxwire_protocol.schema import protocol_schema

from .cases import require

_shapes: set[tuple[Any, ...]] = set()


def check_reply(line: bytes) -> dict[str, Any]:
    """Return a line of dialect 1 as its message. Raises: Finding.

    The schema is asked about each shape once, since it takes a millisecond.
    """
    message = read_line(line)
    shape = _shape(message)
    if shape not in _shapes:
        wrong = next(_validator().iter_errors(message), None)
        require(wrong is None, f"against the schema: {wrong and wrong.message}: {line[:200]!r}")
        _shapes.add(shape)
    return message


def read_line(line: bytes) -> dict[str, Any]:
    """Return a line's object. Raises: Finding, also where the bytes are not one line."""
    require(line.endswith(b"\n") and line.count(b"\n") == 1, f"not one line: {line[:200]!r}")
    try:
        message = orjson.loads(line)
    except ValueError as error:
        require(False, f"not JSON ({error}): {line[:200]!r}")
    require(isinstance(message, dict), f"no object: {line[:200]!r}")
    found: dict[str, Any] = message
    return found


def _shape(value: Any, depth: int = 0) -> tuple[Any, ...]:
    """Return names and types of an object, and the values of strings that the schema enumerates."""
    return tuple(
        (name, item)
        if name in ("type", "code", "finish_reason", "stage", "outcome", "final", "done")
        else (name, _shape(item, depth + 1))
        if isinstance(item, dict) and depth < 2
        else (name, type(item), isinstance(item, int | float) and item < 0)
        for name, item in value.items()
    )


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator({**protocol_schema(), "anyOf": [{"$ref": "#/$defs/reply"}]})
