"""Words the error for a request that does not fit its type: the value, and what is accepted.

msgspec finds the fault and describes it with Python's type names and comparison signs. This file
translates that description for a reader who writes JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

from .commands import command_name
from .errors import SHOWN_CHARACTERS, WireError, invalid_params, quoted
from .messages import Command

_FIELD_PATH = re.compile(r" - at (`key` in )?`\$\.?([^`]*)`$")
_FIELD_NAME = re.compile(r"(unknown|required) field `(.*)`$", re.DOTALL)
_EXPECTED = re.compile(r"Expected `([^`]*)`( of length)?(?: ([<>]=?) (\S+))?")
_STEP = re.compile(r"\[(\d+)\]|(\.\.\.|[^.\[\]]+)")
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_NEWER = {
    "functions": ("tools",),
    "function_call": ("tool_calls", "tool_choice"),
    "max_completion_tokens": ("max_tokens",),
    "reasoning_effort": ("thinking",),
}
"""OpenAI's older and other names of fields, with those that stand in their place."""
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_UNITS = {"str": "characters", "array": "elements", "object": "names"}


def params_error(kind: type[Command], fields: dict[str, Any], message: str) -> WireError:
    """Return the error ``invalid_params`` for a request that msgspec refused with ``message``."""
    command = command_name(kind)
    path = _FIELD_PATH.search(message)
    parent = path[2] if path else ""
    problem = message[: path.start()] if path else message
    named = _FIELD_NAME.search(problem)
    if named is not None:
        field = ".".join(filter(None, (parent, named[2][:SHOWN_CHARACTERS])))
        if named[1] == "unknown":
            remedy = (
                _place_within(kind, parent, named[2])
                or _newer(kind, parent, named[2])
                or "correct the name, or leave it out"
            )
            text = f"`{command}` has no field `{field}`; {remedy}"
        elif isinstance(outer := _value_at(fields, parent), dict) and named[2] in outer:
            text = f"`{field}` of `{command}` is null; give it a value"
        else:
            text = f"`{command}` needs the field `{field}`; add it"
        return invalid_params(field, text)
    wrong = f"`{parent}` of `{command}`"
    if path and path[1]:
        text = f'{wrong} has a name that is not a token id in digits; give names such as "17"'
        return invalid_params(parent, text)
    value = _value_at(fields, parent)
    choices = _choices(kind, parent)
    if not choices and "matching regex" in problem:
        choices = _described(kind, parent)
    state = f"is {quoted(value)}" if choices else _state(value, problem)
    return invalid_params(parent, f"{wrong} {state}; give {choices or _accepted(problem)}")


def _value_at(fields: Any, path: str) -> Any:
    """Return the value at a path such as ``messages[0].content``."""
    value = fields
    for index, name in _STEP.findall(path):
        if name == "...":  # msgspec does not name the key of an object's value
            return ...
        value = value[int(index)] if index else value[name]
    return value


def _state(value: Any, problem: str) -> str:
    """Describe a wrong value. A string may be a prompt, so it is not quoted."""
    if value is None or isinstance(value, bool | int | float):
        return f"is {json.dumps(value)[:SHOWN_CHARACTERS]}"
    if not isinstance(value, str | list | dict):
        return "has a value that is not accepted"
    kind = {str: "str", list: "array", dict: "object"}[type(value)]
    if " of length " not in problem:
        return f"is {_KINDS[kind]}"
    return f"has {len(value)} {_UNITS[kind]}" if value else "is empty"


def _accepted(problem: str) -> str:
    """Return the values that msgspec says it expected, in words."""
    expected = _EXPECTED.match(problem)
    if expected is None:
        return "a value that the protocol lists"
    kinds, length, sign, bound = expected.groups()
    if length:
        unit = _UNITS[kinds].removesuffix("s") if bound == "1" else _UNITS[kinds]
        return f"{_BOUNDS[sign]} {bound} {unit}"
    words = " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | "))
    return f"{words} of {_BOUNDS[sign]} {bound.removesuffix('.0')}" if sign else words


@cache  # reading a type takes a millisecond
def _tree(kind: type[Command]) -> inspect.Type:
    return inspect.type_info(kind)


def _types_at(kind: type[Command], path: str) -> list[inspect.Type]:
    """Return the types that a value at a path may have."""
    types = list(_flat(_tree(kind)))
    for _, name in _STEP.findall(path):
        types = [
            inner for outer in types for part in _parts(outer, name) for inner in _flat(part)
        ]
    return types


def _flat(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the types of a union, and a type with a description before the type alone."""
    if isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _flat(part)
        return
    yield kind
    if isinstance(kind, inspect.Metadata):
        yield from _flat(kind.type)


def _parts(kind: inspect.Type, name: str) -> Iterator[inspect.Type]:
    """Yield the types of the value at a name, or of an array's elements if that is empty."""
    if isinstance(kind, inspect.ListType) and not name:
        yield kind.item_type
    elif isinstance(kind, inspect.DictType) and name:
        yield kind.value_type
    elif isinstance(kind, inspect.StructType):
        yield from (field.type for field in kind.fields if field.encode_name == name)
        if kind.tag_field == name:
            yield inspect.LiteralType((kind.tag,))


def _choices(kind: type[Command], path: str) -> str:
    """Return the listed values of a field, with the numbers that it takes beside them.

    Empty for a field without such a list.
    """
    types = _types_at(kind, path)
    values = [v for part in types if isinstance(part, inspect.LiteralType) for v in part.values]
    listed = ", ".join(dict.fromkeys(json.dumps(value) for value in values))
    listed = f"one of {listed}" if len(values) > 1 else listed
    numbers = [part.ge for part in types if isinstance(part, inspect.IntType)] if values else []
    words = [
        "an integer" if least is None else f"an integer of at least {least}"
        for least in numbers
    ]
    return " or ".join([*words, *filter(None, [listed])])


def _described(kind: type[Command], path: str) -> str:
    """Return the description of a text that must match an expression; empty if it has none."""
    extras = [part for part in _types_at(kind, path) if isinstance(part, inspect.Metadata)]
    return "".join((part.extra_json_schema or {}).get("description", "") for part in extras[:1])


def _place_within(kind: type[Command], parent: str, name: str) -> str:
    """Say where an unknown field belongs, if an object beside it has a field of that name."""
    for outer in _types_at(kind, parent) if parent else ():
        for field in outer.fields if isinstance(outer, inspect.StructType) else ():
            inner = [part for part in _flat(field.type) if isinstance(part, inspect.StructType)]
            if any(True for part in inner for _ in _parts(part, name)):
                return f"put `{name}` into `{parent}.{field.encode_name}`"
    return ""


def _newer(kind: type[Command], parent: str, name: str) -> str:
    """Name the field that stands in the place of one of OpenAI's, if there is one."""
    for outer in _types_at(kind, parent):
        for newer in _NEWER.get(name, ()):
            if any(True for _ in _parts(outer, newer)):
                return f"give `{newer}` in its place"
    return ""
