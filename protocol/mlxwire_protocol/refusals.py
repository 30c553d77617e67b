"""Words the error for a request that does not fit its type: the value, and what is accepted.

msgspec finds the fault and describes it with Python's type names and comparison signs. This file
translates that description for a reader who writes JSON.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

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
            text = f"`{command}` has no field `{field}`; correct the name, or leave it out"
        else:
            text = f"`{command}` needs the field `{field}`; add it"
        return invalid_params(field, text)
    wrong = f"`{parent}` of `{command}`"
    if path and path[1]:
        text = f'{wrong} has a name that is not a token id in digits; give names such as "17"'
        return invalid_params(parent, text)
    value = _value_at(fields, parent)
    choices = _choices(kind, parent)
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


@cache  # evaluating the annotations of a type takes a millisecond
def _hints(kind: type[Command]) -> dict[str, Any]:
    return get_type_hints(kind)


def _choices(kind: type[Command], field: str) -> str:
    """Return the listed values of a field; an empty string for a field without such a list."""
    hint = _hints(kind).get(field)
    parts = get_args(hint) if get_origin(hint) is Union else (hint,)
    values = [v for part in parts if get_origin(part) is Literal for v in get_args(part)]
    return f"one of {', '.join(json.dumps(v) for v in values)}" if values else ""
