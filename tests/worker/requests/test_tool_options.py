"""Tools and the choice among them: what a request says, and combinations that are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Chat
from mlxwire_worker.requests.tool_options import ToolOptions, tool_options


def tool(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


F, G = tool("f"), tool("g")
NO_PARAMETERS = {"type": "object", "properties": {}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def options(**fields: Any) -> ToolOptions:
    base = {"cmd": "chat", "id": "c", "messages": [{"role": "user", "content": "x"}]}
    chat = msgspec.convert({**base, **fields}, Chat)
    return tool_options(
        chat.tools, chat.tool_choice, chat.parallel_tool_calls, chat.response_format
    )


def test_a_tool_has_the_keys_that_were_set_and_always_parameters() -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    full = tool("f", description="Do.", parameters=schema, strict=True)

    assert options(tools=[full, G]).tools == [full, tool("g", parameters=NO_PARAMETERS)]


def test_null_in_a_tool_is_as_left_out() -> None:
    given = tool("g", description=None, parameters=None, strict=None)

    assert options(tools=[given]) == options(tools=[G])


@pytest.mark.parametrize(
    ("fields", "must_call", "chosen"),
    [
        ({}, False, None),
        ({"tool_choice": "auto"}, False, None),
        ({"tool_choice": "required"}, True, None),
        ({"tool_choice": "g"}, True, "g"),
        ({"tool_choice": named("g")}, True, "g"),
    ],
)
def test_the_choice_of_a_request(
    fields: dict[str, Any], must_call: bool, chosen: str | None
) -> None:
    found = options(tools=[F, G], **fields)

    assert (found.must_call, found.chosen) == (must_call, chosen)
    assert len(found.tools) == 2


def test_a_tool_with_a_choices_name_is_chosen_as_an_object() -> None:
    tools = [tool("auto"), tool("none")]

    assert options(tools=tools, tool_choice=named("none")).chosen == "none"
    assert options(tools=tools, tool_choice="auto").chosen is None
    assert options(tools=tools, tool_choice="none").tools == []


def test_the_choice_none_leaves_no_tools() -> None:
    form = {"type": "json_object"}

    assert options(tools=[F], tool_choice="none", response_format=form) == ToolOptions([])


@pytest.mark.parametrize(("given", "parallel"), [({}, True), (True, True), (False, False)])
def test_calls_are_parallel_unless_the_request_says_no(given: Any, parallel: bool) -> None:
    fields = {} if given == {} else {"parallel_tool_calls": given}

    assert options(tools=[F], **fields).parallel_calls == parallel


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_without_tools_a_choice_that_asks_for_none_is_accepted(choice: str) -> None:
    assert options(tool_choice=choice) == options(tools=[]) == ToolOptions([])


def test_a_form_that_is_none_may_stand_beside_tools() -> None:
    assert options(tools=[F], response_format={"type": "text"}).tools


def deep(levels: int) -> dict[str, Any]:
    return {"items": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "f"}, "tool_choice"),
        ({"tool_choice": named("f")}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"parallel_tool_calls": False, "tools": []}, "parallel_tool_calls"),
        ({"tools": [F], "tool_choice": "h"}, "tool_choice"),
        ({"tools": [F], "tool_choice": named("h")}, "tool_choice.function.name"),
        ({"tools": [F, G, F]}, "tools[2].function.name"),
        ({"tools": [F, F], "tool_choice": "none"}, "tools[1].function.name"),
        ({"tools": [tool("f", parameters={"type": "string"})]}, "tools[0].function.parameters"),
        ({"tools": [tool("f", parameters={"type": []})]}, "tools[0].function.parameters"),
        ({"tools": [tool("f", parameters=deep(100))]}, "tools[0].function.parameters"),
        ({"tools": [F], "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_combination_without_sense_is_refused_by_name(
    fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(WireError) as refused:
        options(**fields)

    assert (refused.value.code, refused.value.data["field"]) == ("invalid_params", field)
    assert field.split(".")[0] in refused.value.message
