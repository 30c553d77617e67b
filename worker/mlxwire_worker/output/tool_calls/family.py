"""The interface of a family of models: how its tool calls are parsed and enforced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from .source import NotACall, Parsing, Source

Mark = Callable[[str], str]
"""Maps a mark of a family to a term of llguidance's Lark: its special token, or its text."""


class Tool(Struct, kw_only=True, frozen=True):
    """A function that the model may call. ``parameters`` is the JSON Schema of its arguments."""

    name: str
    parameters: dict[str, Any]
    description: str = ""
    strict: bool = False


class Tools:
    """The functions of one request, by name."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        """Return True if there is a tool of that name."""
        return name in self._tools

    def named(self, name: str) -> Tool:
        """Return a tool. Raises: NotACall if no tool has that name."""
        tool = self._tools.get(name)
        if tool is None:
            raise NotACall(f"the model called `{name[:64]}`, which is not in `tools`")
        return tool


def tools_of(definitions: Sequence[dict[str, Any]]) -> Tools:
    """Return the tools of a chat, which have OpenAI's shape."""
    functions = [definition["function"] for definition in definitions]
    return Tools(
        [
            Tool(
                name=function["name"],
                description=function.get("description", ""),
                parameters=function.get("parameters", {}),
                strict=bool(function.get("strict")),
            )
            for function in functions
        ]
    )


class Family(ABC):
    """One form of tool calls. Families have no state, so one object serves all requests."""

    name: ClassVar[str]

    has_grammar: ClassVar[bool] = True
    """False if no grammar holds an answer to calls of this form."""

    enforces_strict: ClassVar[bool] = True
    """False if the grammar leaves parts of a schema to the check of the finished call."""

    marks_known: ClassVar[bool] = True
    """False if the form has marks that only a parser of another library knows."""

    openings: tuple[str, ...]
    """The marks with which a section of calls begins, wherever they stand in the text."""

    opens_text: ClassVar[tuple[str, ...]] = ()
    """Beginnings of a section that count only as the first text of an answer."""

    loose_openings: ClassVar[tuple[str, ...]] = ()
    """Beginnings of a section that count in the text only if a call of one of the tools follows."""

    @abstractmethod
    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section of calls, which begins at ``source`` with one of the openings.

        Yield `CallBegan` as soon as the name is known, the arguments as they arrive, and `CallEnded`
        after ``source.complete_call()``. Return after the section's last mark.
        Raises: NotACall, with all that is no call's taken from the source.
        """

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a Lark grammar of answers with one call, or more if ``parallel``.

        Its first rule is ``start``. The arguments are held to each tool's ``parameters``.
        Raises: Unenforceable for what the form can't carry; NotImplementedError without a grammar.
        """
        raise NotImplementedError
