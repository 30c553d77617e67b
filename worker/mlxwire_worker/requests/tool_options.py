"""Checks the tools of a request and its choice among them, and converts them for the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from mlxwire_protocol import invalid_params
from mlxwire_protocol.chat.tools import NamedTool, ToolChoice, ToolDefinition
from mlxwire_protocol.formats import ResponseFormat, TextFormat

from .turns import check_nesting

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
"""The schema of a function without parameters; templates read its ``properties``."""


class ToolOptions(NamedTuple):
    """The fields of a `ChatInput` about tools."""

    tools: list[dict[str, Any]]
    must_call: bool = False
    chosen: str | None = None
    parallel_calls: bool = True


NO_TOOLS = ToolOptions([])


def tool_options(
    tools: list[ToolDefinition],
    choice: ToolChoice | UnsetType = UNSET,
    parallel: bool | UnsetType = UNSET,
    response_format: ResponseFormat | None = None,
) -> ToolOptions:
    """Check a request's tools with the options beside them; the choice `none` leaves no tools.

    Raises: WireError ``invalid_params``.
    """
    if not tools:
        _check_without_tools(choice, parallel)
        return NO_TOOLS
    _check_tools(tools)
    chosen = _chosen(tools, choice)
    if choice == "none":
        return NO_TOOLS
    if not isinstance(response_format, TextFormat | None):
        raise invalid_params(
            "response_format",
            "`response_format` can't stand beside `tools`, because a call has the form of its "
            "tool; leave one of them out, or set `tool_choice` to `none`",
        )
    return ToolOptions(
        [_definition(tool) for tool in tools],
        must_call=chosen is not None or choice == "required",
        chosen=chosen,
        parallel_calls=parallel is not False,
    )


def _check_without_tools(choice: ToolChoice | UnsetType, parallel: bool | UnsetType) -> None:
    for name, given in (
        ("tool_choice", choice is not UNSET and choice not in ("auto", "none")),
        ("parallel_tool_calls", parallel is not UNSET),
    ):
        if given:
            raise invalid_params(name, f"`{name}` needs `tools`; add them, or leave it out")


def _check_tools(tools: list[ToolDefinition]) -> None:
    seen: set[str] = set()
    for place, tool in enumerate(tools):
        field, function = f"tools[{place}].function", tool.function
        if function.name in seen:
            raise invalid_params(
                f"{field}.name",
                f"`{field}.name` is {function.name!r}, which an earlier tool has too; give each tool "
                "a name of its own",
            )
        seen.add(function.name)
        parameters = function.parameters or NO_PARAMETERS
        kind = parameters.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            raise invalid_params(
                f"{field}.parameters",
                f"`{field}.parameters` is a schema of the type {kind!r}; give the schema of an "
                'object, such as {"type": "object", "properties": {}}',
            )
        check_nesting(parameters, f"{field}.parameters")


def _chosen(tools: list[ToolDefinition], choice: ToolChoice | UnsetType) -> str | None:
    """Return the name of the tool that must be called; None if the request names none."""
    if isinstance(choice, NamedTool):
        name, field = choice.function.name, "tool_choice.function.name"
    elif choice is UNSET or choice in ("auto", "none", "required"):
        return None
    else:
        name, field = str(choice), "tool_choice"
    if name not in {tool.function.name for tool in tools}:
        raise invalid_params(
            field,
            f"`{field}` is {name!r}, which is not in `tools`; give `auto`, `none`, `required` "
            "or the name of one of them",
        )
    return name


def _definition(tool: ToolDefinition) -> dict[str, Any]:
    """Return a tool as templates read it, with only the keys that are set, and parameters."""
    function = tool.function
    described: dict[str, Any] = {"name": function.name}
    if function.description:
        described["description"] = function.description
    described["parameters"] = function.parameters or NO_PARAMETERS
    if function.strict is not None:
        described["strict"] = function.strict
    return {"type": "function", "function": described}
