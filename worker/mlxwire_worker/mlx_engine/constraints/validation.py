"""Tells if a text is an instance of a JSON Schema; nothing is fetched, no pattern backtracks."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jsonschema_rs

from mlxwire_protocol import invalid_params

_SCHEMA = "response_format.json_schema.schema"


class Validator:
    """Validates texts against one schema.

    Raises: WireError ``invalid_params`` for an invalid schema.
    """

    def __init__(self, schema: Any) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                retriever=_refuse,
                pattern_options=jsonschema_rs.RegexOptions(),
                validate_formats=True,
            )
        except (ValueError, TypeError) as error:  # jsonschema_rs's own are ValueErrors
            told = " ".join(str(error).split())[:300]
            raise invalid_params(
                _SCHEMA, f"the schema is not valid: {told}; correct it"
            ) from None

    def accepts(self, text: str) -> bool:
        """Return True if a text is JSON and an instance of the schema."""
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri!r} is not fetched: copy the schema that it names into `$defs`")
