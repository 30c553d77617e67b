"""The tools that the model may call, and its freedom to call them, in OpenAI's shape (SPEC §4.4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

ToolName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.\-]{1,128}\Z",
        description="1 to 128 letters, digits, `_`, `-` and `.`",
    ),
]


class Function(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A function. ``parameters`` is the JSON Schema of its arguments, an object.

    ``strict`` refuses a schema that a grammar can't enforce whole, where a call is required. Null is
    as left out, since OpenAI's hosts send it.
    """

    name: ToolName
    description: Annotated[str, Meta(max_length=65536)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A tool; functions are the only kind."""

    function: Function
    type: Literal["function"] = "function"


class ChosenFunction(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The name of the function that must be called."""

    name: ToolName


class NamedTool(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The choice of one tool, as OpenAI's hosts send it."""

    function: ChosenFunction
    type: Literal["function"] = "function"


ToolList = Annotated[list[ToolDefinition], Meta(max_length=1024)]
ToolChoice = ToolName | NamedTool
"""`auto`, `none`, `required`, or a tool: its name, or `NamedTool` if the name is one of these words."""


class ThinkingBudget(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A thought of at most ``budget`` tokens; then ``message`` ends it. A budget of 0 is no thought."""

    budget: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    message: Annotated[str, Meta(max_length=4096)] = ""
