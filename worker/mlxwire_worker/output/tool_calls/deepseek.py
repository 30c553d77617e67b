"""Calls as DeepSeek R1 and V3 write them, with fences around the JSON, and V3.1 without them."""

from __future__ import annotations

from typing import ClassVar

from ..pieces import CallEnded
from .family import Family, Mark, Tool, Tools
from .source import LONGEST_NAME, Parsing, Source
from .syntax import grammars
from .syntax.json_calls import parse_arguments, parse_section

_SECTION = "<｜tool▁calls▁begin｜>"
_SLOPPY = (
    "<｜tool_calls_begin｜>",
    "<｜tool calls begin｜>",
    r"<｜tool\_calls\_begin｜>",
    "<｜tool▁calls｜>",
)
"""Spellings of the section's mark by distilled models, whose vocabulary lacks the mark."""
_SECTION_END = "<｜tool▁calls▁end｜>"
_BEGIN = "<｜tool▁call▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_END = "<｜tool▁call▁end｜>"
_FENCES = ("```json", "```")


class DeepSeek(Family):
    """A section with one or more calls. Both forms are understood; ``fenced`` tells the grammar's."""

    name: ClassVar[str] = "deepseek"
    openings: tuple[str, ...] = (_SECTION, *_SLOPPY, _BEGIN)

    def __init__(self, *, fenced: bool = True) -> None:
        self._fenced = fenced

    @classmethod
    def of_template(cls, template: str) -> DeepSeek:
        """Return the family with the form that a model's template renders."""
        return cls(fenced=_FENCES[0] in template)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        return parse_section(
            source,
            lambda: self._call(source, tools),
            openings=(_SECTION, *_SLOPPY),
            section_ends=(_SECTION_END,),
            begin=_BEGIN,
            end=_END,
            needs_begin=False,
        )

    def _call(self, source: Source, tools: Tools) -> Parsing:
        name = yield from source.until(_SEPARATOR, most=LONGEST_NAME)
        yield from source.expect(_SEPARATOR)
        yield from source.skip_space()
        fence: str | None = None
        if (yield from source.peek(1)) != "{" and (yield from source.follows(_END)) is None:
            # That was the call's type, and now comes the name.
            name = yield from source.until("\n", _FENCES[1], "{", _END, most=LONGEST_NAME)
            yield from source.skip_space()
            fence = yield from source.try_take(*_FENCES)
            yield from source.skip_space()
        yield from parse_arguments(source, name.strip(), tools, None, _FENCES[1], _END)
        source.complete_call()
        yield CallEnded()
        if fence is not None:
            yield from source.skip_space()
            yield from source.try_take(_FENCES[1])

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section."""

        def call(tool: Tool, arguments: str) -> str:
            name, separator = grammars.quoted(tool.name), mark(_SEPARATOR)
            if not self._fenced:
                return f"{mark(_BEGIN)} {name} {separator} {arguments} {mark(_END)}"
            fenced = f"{name} {grammars.quoted(chr(10) + _FENCES[0] + chr(10))} {arguments}"
            closing = grammars.quoted("\n" + _FENCES[1])
            return f'{mark(_BEGIN)} "function" {separator} {fenced} {closing} {mark(_END)}'

        begin, end = mark(_SECTION), mark(_SECTION_END)
        between = grammars.quoted("\n") if self._fenced else ""
        return grammars.calls(
            tools, call, parallel=parallel, begin=begin, end=end, between=between
        )
