"""Turns the raw text of a parameter into JSON, by the types that the tool's schema gives it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from ..schemas.types import TYPES, type_of
from .json_text import written

_WORDS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_FAILURES = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError)


def escaped(text: str) -> str:
    """Return a part of a string as it stands within a JSON string's quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def as_json(text: str, types: frozenset[str]) -> str:
    """Return a parameter's raw text as a JSON value of the first type that fits.

    A text that fits none of the types is a string. If there are no types, JSON stands for itself and
    any other text is a string.
    """
    blank = text.strip()
    for name in TYPES[:-1] if types else ():
        if (name in types or (name == "integer" and types == {"number"})) and (
            found := _as_type(blank, name)
        ) is not None:
            return found
    if not types and (found := _dumped(_parsed_json(blank), "any")) is not None:
        return found
    return json.dumps(text, ensure_ascii=False)


def _as_type(text: str, name: str) -> str | None:
    """Return a text as JSON of one type; None if it has another."""
    if name in ("null", "boolean"):
        word = _WORDS.get(text.lower(), "no word")
        return _dumped(word, name)
    if name in ("integer", "number"):
        return _as_number(text, name) if _NUMBER.fullmatch(text) else None
    for parse in (_parsed_json, _parsed_python, _parsed_escaped):
        if (found := _dumped(parse(text), name)) is not None:
            return found
    return None


def _as_number(text: str, name: str) -> str | None:
    try:
        value: int | float
        try:
            value = int(text)
        except ValueError:
            value = float(text)
            if name == "integer" or (value.is_integer() and "." not in text):
                if not value.is_integer():
                    return None
                value = int(value)
        return json.dumps(value, allow_nan=False)
    except _FAILURES:
        return None


class _Unparsed:
    """Stands for a text that has no value."""


def _parsed_json(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except _FAILURES:
        return _Unparsed()


def _parsed_python(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown escapes, which models write
            return ast.literal_eval(text)
    except _FAILURES:
        return _Unparsed()


def _parsed_escaped(text: str) -> Any:
    """Parse a list or an object whose quotes are escaped, as if it stood within a string."""
    inner = _parsed_json(f'"{text}"') if '\\"' in text else None
    return _parsed_json(inner) if isinstance(inner, str) else _Unparsed()


def _dumped(value: Any, name: str) -> str | None:
    """Return a value as JSON if it has the type ``name``, which may be `any`; else None."""
    if isinstance(value, _Unparsed):
        return None
    if isinstance(value, tuple):
        value = list(value)
    if name != "any" and type_of(value) != name:
        return None
    try:
        return written(value)
    except _FAILURES:
        return None
