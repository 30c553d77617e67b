"""Calls as MiniMax writes them: M2 an `<invoke>` for each call, M1 a JSON object on a line."""

from __future__ import annotations

from typing import ClassVar

from .family import Family, Mark, Tools
from .source import Parsing, Source
from .syntax import grammars
from .syntax.invocations import Invocations
from .syntax.json_calls import parse_objects, whole_call

_BEGIN = "<tool_calls>"
_END = "</tool_calls>"


class MiniMax(Invocations):
    """A section between `<minimax:tool_call>` and its end."""

    name: ClassVar[str] = "minimax"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = ("<minimax:tool_call>",)


class MiniMaxM1(Family):
    """One section of JSON objects on lines, or of one list, as Jamba and Hunyuan write it.

    Both are understood; ``in_list`` tells the grammar's.
    """

    name: ClassVar[str] = "minimax-m1"
    openings: tuple[str, ...] = (_BEGIN,)

    def __init__(self, *, in_list: bool = False) -> None:
        self._in_list = in_list

    @classmethod
    def of_template(cls, template: str) -> MiniMaxM1:
        """Return the family with the form that a model's template renders."""
        return cls(in_list=f"{_BEGIN}[" in template)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        yield from source.expect(_BEGIN)
        yield from source.skip_space()
        while (yield from source.try_take(_END)) is None:
            yield from whole_call(parse_objects(source, tools), source, _END, before=_BEGIN)
            yield from source.skip_space()
            if (yield from source.try_take(",")) is not None:
                yield from source.skip_space()
            source.complete_call()
            if (yield from source.follows("{", "[", _END)) is None:
                return
        source.complete_call()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section."""
        begin, between, end = ("[", ", ", "]") if self._in_list else ("\n", "\n", "\n")
        return grammars.calls(
            tools,
            grammars.object_call,
            parallel=parallel,
            begin=f"{mark(_BEGIN)} {grammars.quoted(begin)}",
            end=f"{grammars.quoted(end)} {mark(_END)}",
            between=grammars.quoted(between),
        )
