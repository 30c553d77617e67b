"""Calls as Kimi K2 writes them: `functions.NAME:NUMBER`, which is the call's id, and JSON."""

from __future__ import annotations

import re
from typing import ClassVar

from ..pieces import CallEnded
from .family import Family, Mark, Tool, Tools
from .source import LONGEST_NAME, NotACall, Parsing, Source
from .syntax import grammars
from .syntax.json_calls import parse_arguments, parse_section

_SECTIONS = ("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>")
_SECTION_ENDS = ("<|tool_calls_section_end|>", "<|tool_call_section_end|>")
_BEGIN = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_END = "<|tool_call_end|>"
_ID = re.compile(r"(?:functions\.)?([^:\s]+):[0-9]+")


class Kimi(Family):
    """A section with one or more calls. A call without a section is understood too."""

    name: ClassVar[str] = "kimi"
    openings: tuple[str, ...] = (*_SECTIONS, _BEGIN)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        return parse_section(
            source,
            lambda: self._call(source, tools),
            openings=_SECTIONS,
            section_ends=_SECTION_ENDS,
            begin=_BEGIN,
            end=_END,
            needs_begin=True,
        )

    def _call(self, source: Source, tools: Tools) -> Parsing:
        call_id = (yield from source.until(_ARGUMENTS, most=LONGEST_NAME)).strip()
        yield from source.expect(_ARGUMENTS)
        yield from source.skip_space()
        yield from parse_arguments(source, _name_in(call_id, tools), tools, call_id, _END)
        source.complete_call()
        yield CallEnded()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section."""

        def call(tool: Tool, arguments: str) -> str:
            name = grammars.quoted(f"functions.{tool.name}:")
            head = f"{mark(_BEGIN)} {name} /[0-9]{{1,3}}/ {mark(_ARGUMENTS)}"
            return f"{head} {arguments} {mark(_END)}"

        begin, end = mark(_SECTIONS[0]), mark(_SECTION_ENDS[0])
        return grammars.calls(tools, call, parallel=parallel, begin=begin, end=end)


def _name_in(call_id: str, tools: Tools) -> str:
    """Return the tool's name in the id of a call. Raises: NotACall."""
    if found := _ID.fullmatch(call_id):
        return found[1]
    if call_id.isdecimal() and len(tools) == 1:
        return next(iter(tools)).name
    raise NotACall(f"`{call_id[:64]}` stands where `functions.NAME:NUMBER` must")
