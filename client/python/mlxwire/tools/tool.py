"""One Python function as a tool: the schema that the model sees, and the values that it is called with."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from ..typed.struct_schema import schema_of

NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
"""The names that the wire accepts (SPEC §4.4)."""
_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Tool:
    """A function that the model may call, plain or async.

    Its signature gives the schema of the arguments: each parameter needs a type that JSON can hold,
    such as ``str``, ``list[int]``, a Literal, a dataclass or a msgspec Struct. A parameter with a
    default may be left out. ``Annotated[str, "the city"]`` describes a parameter, and a
    `msgspec.Meta` in its place also limits it. ``description`` left out is the docstring.
    ``parameters``, the JSON Schema of an object, replaces the signature: the function then gets
    the arguments as keywords, as they are.

    Raises: TypeError if the function can't be a tool.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"a tool is of type {type(function).__name__}: give a function, or a mlxwire.Tool of "
                "one. The definition alone can't be run; pass that to `chat` as `tools`"
            )
        self.function = function
        self.name = name or _own_name(function)
        if not NAME.fullmatch(self.name):
            raise TypeError(
                f"a tool can't have the name {self.name!r}: give mlxwire.Tool(..., name=...) of at "
                "most 128 letters, digits, `_`, `-` and `.`"
            )
        self.description = _docstring(function) if description is None else description
        self.is_async = _is_async(function)
        """True if a call returns an awaitable."""
        self._arguments: type[msgspec.Struct] | None = None
        if parameters is None:
            self._arguments = _arguments_type(self.name, function)
            self.parameters = _parameters(self._arguments)
        else:
            self.parameters = dict(parameters)

    @property
    def definition(self) -> dict[str, Any]:
        """The tool in OpenAI's shape, for the option ``tools`` of `Model.chat`."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": function}

    def keywords(self, arguments: str) -> dict[str, Any]:
        """Return the keywords of a call, converted to the types of the parameters.

        Raises: ValueError if the arguments do not fit.
        """
        if self._arguments is None:
            return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        given = msgspec.json.decode(arguments or "{}", type=self._arguments)
        names = self._arguments.__struct_fields__
        values = {name: getattr(given, name) for name in names}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


def tools_by_name(tools: object) -> dict[str, Tool]:
    """Return functions and tools as tools, by name. Raises: TypeError, also for equal names."""
    if isinstance(tools, str | Mapping | Tool) or not isinstance(tools, Iterable):
        raise TypeError(
            f"`tools` is of type {type(tools).__name__}: give a list of functions, such as "
            "[get_weather]"
        )
    found: dict[str, Tool] = {}
    for given in tools:
        tool = given if isinstance(given, Tool) else Tool(given)
        if tool.name in found:
            raise TypeError(
                f"two tools have the name {tool.name!r}: give one of them another name by "
                "mlxwire.Tool(function, name=...)"
            )
        found[tool.name] = tool
    return found


def definition_of(tool: object) -> object:
    """Return the definition of a function or a `Tool`; anything else as it is.

    Raises: TypeError for a function that can't be a tool.
    """
    if isinstance(tool, Tool):
        return tool.definition
    return Tool(tool).definition if callable(tool) else tool


def _inner(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _own_name(function: Any) -> str:
    inner = _inner(function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def _docstring(function: Any) -> str:
    inner = _inner(function)
    if not hasattr(inner, "__name__"):  # an object that can be called
        return inspect.getdoc(type(inner).__call__) or ""
    return inspect.getdoc(inner) or ""


def _is_async(function: Any) -> bool:
    inner = _inner(function)
    called = inner if hasattr(inner, "__name__") else type(inner).__call__
    return inspect.iscoroutinefunction(called)


def _arguments_type(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    """Return a type whose fields are the parameters."""
    try:
        signature = inspect.signature(function)
        inner = _inner(function)
        annotated = inner if hasattr(inner, "__name__") else type(inner).__call__
        hints = get_type_hints(annotated, include_extras=True)
    except (NameError, ValueError, TypeError) as error:
        raise TypeError(
            f"the signature of tool {name!r} can't be read: {error}. Give it annotations of types "
            "that its module knows, or mlxwire.Tool(..., parameters=...)"
        ) from error
    fields: list[Any] = []
    for parameter in signature.parameters.values():
        if parameter.kind not in _KEYWORDS:
            raise TypeError(
                f"the parameter `{parameter}` of tool {name!r} can't be passed by name: leave it out, "
                "or give mlxwire.Tool(..., parameters=...)"
            )
        if parameter.name not in hints:
            raise TypeError(
                f"the parameter `{parameter.name}` of tool {name!r} has no type: annotate it, such as "
                f"`{parameter.name}: str`"
            )
        kind = _described(hints[parameter.name])
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, kind))
        else:
            fields.append((parameter.name, kind | msgspec.UnsetType, msgspec.UNSET))
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, ValueError) as error:
        raise _no_schema(name, error) from error


def _parameters(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of the arguments: the fields at the top, other types in `$defs`."""
    try:
        whole = schema_of(arguments)
    except Exception as error:  # the parts of a type are code of its author
        raise _no_schema(arguments.__name__, error) from error
    definitions = whole.pop("$defs")
    schema: dict[str, Any] = definitions.pop(whole.pop("$ref").rpartition("/")[2])
    return {**schema, "$defs": definitions} if definitions else schema


def _no_schema(name: str, error: Exception) -> TypeError:
    return TypeError(
        f"no JSON Schema can be made for the parameters of tool {name!r}: {error}. Use types that "
        "JSON can hold, or give mlxwire.Tool(..., parameters=...)"
    )


def _described(hint: Any) -> Any:
    """Return a type whose texts in `Annotated` are its description."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *extras = get_args(hint)
    for extra in extras:
        if isinstance(extra, str):
            kind = Annotated[kind, msgspec.Meta(description=extra)]
        elif isinstance(extra, msgspec.Meta):
            kind = Annotated[kind, extra]
    return kind
