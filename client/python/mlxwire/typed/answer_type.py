"""One caller's type: the `response_format` that asks for it, and its value from an answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from ..errors import InvalidAnswer, InvalidParams
from .pydantic_types import adapter_schema, type_adapter
from .strict_schema import strict_schema
from .struct_schema import schema_of

T = TypeVar("T")
MOST_SHOWN = 300


class AnswerType(Generic[T]):
    """A ``response_model``: a type that msgspec or pydantic can parse.

    Raises: InvalidParams if no JSON Schema can be made for the type.
    """

    def __init__(self, kind: Any) -> None:
        self.name = inspect.formatannotation(kind) if kind is not None else "None"
        try:
            adapter = type_adapter(kind)
            if adapter is not None:
                schema = strict_schema(adapter_schema(adapter))
                self._decode = adapter.validate_json
            else:
                self._decode = msgspec.json.Decoder(kind).decode
                schema = schema_of(kind)
        except Exception as error:  # the parts of a type are code of its author
            raise InvalidParams(
                f"`response_model` is {self.name}, for which no JSON Schema can be made: "
                f"{_short(error)}. Give a msgspec Struct, a dataclass, a TypedDict, a pydantic "
                "model, or a type made of these and of Python's own",
                data={"field": "response_model"},
            ) from error
        title = "".join(letter for letter in self.name if letter.isalnum() or letter in "_-")
        self.response_format = {
            "type": "json_schema",
            "json_schema": {"name": title[:64], "schema": schema},
        }

    def add_to(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request with the format of this type.

        Raises: InvalidParams if they have a format already.
        """
        if "response_format" in fields:
            raise InvalidParams(
                "`response_model` and `response_format` are both given, and each says what form "
                "the answer has: leave one of them out",
                data={"field": "response_model"},
            )
        return {**fields, "response_format": self.response_format}

    def parse(self, text: str, *, complete: bool | None, finish_reason: str | None) -> T:
        """Return the value of an answer. Raises: InvalidAnswer."""
        if complete is False:
            remedy = (
                "give it more `max_tokens`"
                if finish_reason == "length"
                else "leave out `stop` and `stop_tokens`, or choose ones that the JSON has not"
            )
            problem = (
                f"the answer was cut off ({finish_reason}) before its JSON was whole: {remedy}"
            )
        else:
            try:
                value: T = self._decode(text)
                return value
            except (ValueError, msgspec.DecodeError) as error:  # pydantic's is a ValueError
                problem = (
                    f"the answer is not a valid {self.name}: {_short(error)}. Ask again with "
                    "another `seed`, or make the type say what it accepts"
                )
        raise InvalidAnswer(problem, text=text, complete=complete, finish_reason=finish_reason)


def _short(error: object) -> str:
    return " ".join(str(error).split())[:MOST_SHOWN].rstrip(".")
