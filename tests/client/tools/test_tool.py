"""The schema of a function, and the values that a call of it gets."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest

import mlxwire


@dataclasses.dataclass
class Place:
    name: str
    zip: int = 0


def everything(
    city: Annotated[str, "The city"],
    days: Annotated[int, msgspec.Meta(ge=1, le=7)],
    *,
    unit: Literal["c", "f"] = "c",
    near: Place | None = None,
    when: datetime.date | None = None,
    tags: list[str] = [],  # noqa: B006
) -> tuple[Any, ...]:
    """Tell the weather.

    More about it.
    """
    return city, days, unit, near, when, tags


class Adder:
    """Add to a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, to: int) -> int:
        """Add to it."""
        return self.number + to

    def __call__(self, to: int) -> int:
        """Add."""
        return self.number + to


def test_the_schema_has_what_the_signature_says() -> None:
    definition = mlxwire.Tool(everything).definition
    function = definition["function"]
    parameters = function["parameters"]

    assert definition["type"] == "function"
    assert function["name"] == "everything"
    assert function["description"] == "Tell the weather.\n\nMore about it."
    assert parameters["type"] == "object"
    assert parameters["required"] == ["city", "days"]
    assert parameters["additionalProperties"] is False
    assert [*parameters["properties"]] == ["city", "days", "unit", "near", "when", "tags"]
    assert parameters["properties"]["city"] == {"type": "string", "description": "The city"}
    assert parameters["properties"]["days"] == {"type": "integer", "minimum": 1, "maximum": 7}
    assert parameters["properties"]["unit"] == {"enum": ["c", "f"]}
    assert parameters["$defs"]["Place"]["required"] == ["name"]
    json.dumps(definition)


def test_arguments_become_the_types_of_the_parameters() -> None:
    tool = mlxwire.Tool(everything)
    given = {"city": "Oslo", "days": 2, "near": {"name": "Moss"}, "when": "2026-11-27"}

    assert everything(**tool.keywords(json.dumps(given))) == (
        "Oslo",
        2,
        "c",
        Place("Moss"),
        datetime.date(2026, 11, 27),
        [],
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"city": "Oslo"}', "`days`"),
        ('{"city": 1, "days": 1}', "city"),
        ('{"city": "O", "days": 9}', "<= 7"),
        ("[]", "`object`"),
        ("{", "truncated"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mlxwire.Tool(everything).keywords(arguments)


def test_methods_partials_and_objects_can_be_tools() -> None:
    adder = Adder(1)
    method, called = mlxwire.Tool(adder.add), mlxwire.Tool(adder)
    partial = mlxwire.Tool(functools.partial(everything, days=1))

    assert (method.name, method.description) == ("add", "Add to it.")
    assert (called.name, called.description) == ("Adder", "Add.")
    assert adder.add(**method.keywords('{"to": 2}')) == 3
    assert partial.name == "everything"
    assert partial.parameters["required"] == ["city"]


def test_a_function_without_parameters_is_a_tool() -> None:
    def now() -> str:
        return "now"

    tool = mlxwire.Tool(now)
    assert tool.keywords("") == tool.keywords("{}") == {}
    assert "description" not in tool.definition["function"]


def test_a_name_a_description_and_a_schema_may_be_given() -> None:
    def anything(**fields: Any) -> Any:
        return fields

    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    tool = mlxwire.Tool(anything, name="other-name.2", description="Any", parameters=schema)
    assert tool.definition["function"] == {
        "name": "other-name.2",
        "description": "Any",
        "parameters": schema,
    }
    assert tool.keywords('{"x": 1}') == {"x": 1}
    assert mlxwire.Tool(everything, name="a.b-c").keywords('{"city":"O","days":1}')["days"] == 1


def untyped(city):  # type: ignore[no-untyped-def]
    """Have no type."""


def many(*cities: str) -> None:
    """Take any number."""


def any_name(**cities: str) -> None:
    """Take any name."""


def positional(city: str, /) -> None:
    """Take no name."""


def opaque(city: Adder) -> None:
    """Take an object."""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (untyped, "`city` of tool 'untyped' has no type"),
        (many, r"`\*cities: 'str'`|`\*cities: str`"),
        (any_name, "by name"),
        (positional, "by name"),
        (opaque, "no JSON Schema"),
        (lambda: 1, "name '<lambda>'"),
        ({"type": "function"}, "give a function"),
    ],
)
def test_what_can_be_no_tool_is_refused(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        mlxwire.Tool(function)
