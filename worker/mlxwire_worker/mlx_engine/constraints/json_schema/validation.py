"""Tells if a text is an instance of a JSON Schema; nothing is fetched.

Patterns match in linear time, and those that look around within a bounded number of steps.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jsonschema_rs

from mlxwire_protocol import WireError, invalid_params

from ....output.tool_calls.schemas.branches import Path
from ..compiling import short
from .schemas import keywords, pointer, with_draft

_SCHEMA = "response_format.json_schema.schema"
_MOST_BACKTRACKS = 100_000


class Validator:
    """Validates texts against one schema, which is the ``field`` of a request.

    Raises: WireError ``invalid_params`` for an invalid schema, with ``keyword`` and ``path``.
    """

    def __init__(self, schema: Any, *, field: str = _SCHEMA) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(
                with_draft(schema),
                retriever=_refuse,
                pattern_options=jsonschema_rs.FancyRegexOptions(
                    backtrack_limit=_MOST_BACKTRACKS
                ),
                validate_formats=True,
            )
        except jsonschema_rs.ValidationError as error:
            raise _refusal(schema, error, field) from None
        except (ValueError, TypeError) as error:  # jsonschema_rs's own are ValueErrors
            raise invalid_params(
                field, f"the schema is not valid: {short(error)}; correct it"
            ) from None

    def accepts(self, text: str) -> bool:
        """Return True if a text is JSON and an instance of the schema."""
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False

    def problem(self, text: str) -> str | None:
        """Return why a text is no instance of the schema, and where; None if it is one."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"it is no JSON: {error}"
        problem = next(self._validator.iter_errors(value), None)
        if problem is None:
            return None
        place = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}"
            for part in problem.instance_path
        )
        told = short(problem.message)
        return f"{place.lstrip('.')}: {told}" if place else told


def _refusal(schema: Any, error: jsonschema_rs.ValidationError, field: str) -> WireError:
    told = f"the schema is not valid: {short(error)}; correct it"
    place = _place(schema, error)
    if place is None:
        return invalid_params(field, told)
    return invalid_params(field, told, keyword=str(place[-1]), path=pointer(place))


def _place(schema: Any, error: jsonschema_rs.ValidationError) -> Path | None:
    """Return the path of the keyword that an error is in: its own, or that of a reference."""
    paths = [path for path, _ in keywords(schema)]
    for end in range(len(error.instance_path), 0, -1):
        if (place := tuple(error.instance_path[:end])) in paths:
            return place
    for keyword in ("$schema", "$ref", "$dynamicRef"):
        for path, owner in keywords(schema):
            if path[-1] == keyword and str(owner[keyword]).removeprefix("#") in str(error):
                return path
    return next((path for path in paths if path[-1] == "$ref"), None)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri!r} is not fetched: copy the schema that it names into `$defs`")
