"""Finds pydantic's types in a caller's type, and has pydantic describe and parse that.

pydantic is no dependency: a program with a type of pydantic's has imported it already.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator
from typing import Any

from . import patterns

_MARKS = ("__pydantic_core_schema__", "__pydantic_validator__", "__get_pydantic_core_schema__")
_CONSTRAINTS = {"pydantic", "annotated_types"}


def type_adapter(kind: Any) -> Any | None:
    """Return pydantic's TypeAdapter of a type, or None if no part of the type is pydantic's."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return None
    if isinstance(kind, pydantic.TypeAdapter):
        return kind
    if any(_is_pydantic(part) for part in _parts(kind, set())):
        return pydantic.TypeAdapter(kind)
    return None


def adapter_schema(adapter: Any) -> dict[str, Any]:
    """Return the JSON Schema of a TypeAdapter. Raises: pydantic's errors."""
    base = sys.modules["pydantic"].json_schema.GenerateJsonSchema
    schema: dict[str, Any] = adapter.json_schema(schema_generator=_generator(base))
    return schema


def _generator(base: Any) -> Any:
    """Return a generator whose schemas are within what a grammar can enforce."""

    class Generator(base):  # type: ignore[misc]
        def decimal_schema(self, schema: Any) -> Any:
            """Write a decimal as a number: pydantic's pattern for its string looks ahead."""
            described = super().decimal_schema(schema)
            numbers = [
                each for each in described.get("anyOf", []) if each.get("type") == "number"
            ]
            return numbers[0] if numbers else described

        def dict_schema(self, schema: Any) -> Any:
            """Write keys that are integers as strings with their digits."""
            described = super().dict_schema(schema)
            keys = schema.get("keys_schema")
            if keys is not None and self.generate_inner(keys).get("type") == "integer":
                described["propertyNames"] = {"pattern": patterns.whole(patterns.INTEGER)}
            return described

    return Generator


def _is_pydantic(part: Any) -> bool:
    if isinstance(part, type):
        return any(hasattr(part, mark) for mark in _MARKS)
    return type(part).__module__.partition(".")[0] in _CONSTRAINTS


def _parts(kind: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a type, and all types and constraints that it contains."""
    if id(kind) in seen:
        return
    seen.add(id(kind))
    yield kind
    yield from getattr(kind, "__metadata__", ())
    value = getattr(kind, "__value__", None)  # of a `type` statement
    supertype = getattr(kind, "__supertype__", None)  # of a NewType
    below = [*typing.get_args(kind), value, supertype, *_annotations(kind)]
    for part in below:
        if part is not None and not isinstance(part, str | int):
            yield from _parts(part, seen)


def _annotations(kind: Any) -> list[Any]:
    """Return the types of the fields of a dataclass, TypedDict or NamedTuple."""
    kind = typing.get_origin(kind) or kind
    has_fields = isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "_fields")
    )
    if not has_fields:
        return []
    try:
        return [*typing.get_type_hints(kind, include_extras=True).values()]
    except Exception:  # a reference that can't be resolved is told when the schema is made
        return []
