"""Calls as Mistral writes them: `[TOOL_CALLS]`, then a list in JSON or a name and its arguments."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..pieces import CallEnded
from .family import Family, Mark, Tool, Tools
from .source import NotACall, Parsing, Source
from .syntax import grammars
from .syntax.json_calls import parse_arguments, parse_objects, whole_call

_BEGIN = "[TOOL_CALLS]"
_ID = "[CALL_ID]"
_ARGUMENTS = "[ARGS]"

Form = Literal["list", "name", "name and id"]


class Mistral(Family):
    """The older form is one section with a list, the newer ones have a section for each call.

    All are understood; ``form`` tells the grammar's.
    """

    name: ClassVar[str] = "mistral"
    openings: tuple[str, ...] = (_BEGIN,)

    def __init__(self, form: Form = "list") -> None:
        self._form = form

    @classmethod
    def of_template(cls, template: str) -> Mistral:
        """Return the family with the form that a model's template renders."""
        if _ARGUMENTS not in template:
            return cls("list")
        return cls("name and id" if _ID in template else "name")

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section in either form. Raises: NotACall, CutOff."""
        yield from source.expect(_BEGIN)
        yield from source.skip_space()
        if (yield from source.peek(1)) in ("{", "["):
            yield from whole_call(parse_objects(source, tools), source, "]", before=_BEGIN)
        else:
            yield from self._named_call(source, tools)

    def _named_call(self, source: Source, tools: Tools) -> Parsing:
        name = yield from source.take_word()
        if not name and (follows := (yield from source.peek(1))):
            raise NotACall(f"`{follows}` stands where a call's name must")
        call_id: str | None = None
        yield from source.skip_space()
        if (
            yield from source.follows("{", _BEGIN)
        ) is None:  # special tokens may be left out of the text
            if (yield from source.expect(_ARGUMENTS, _ID)) == _ID:
                yield from source.skip_space()
                call_id = (yield from source.take_word()) or None
                yield from source.skip_space()
                yield from source.expect(_ARGUMENTS)
            yield from source.skip_space()
        yield from parse_arguments(source, name, tools, call_id, _BEGIN)
        source.complete_call()
        yield CallEnded()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar in the form of the model's template."""
        if self._form == "list":
            begin = f'{mark(_BEGIN)} " "? "["'
            return grammars.calls(
                tools,
                grammars.object_call,
                parallel=parallel,
                begin=begin,
                end='"]"',
                between='", "',
            )
        call_id = f"{mark(_ID)} /[A-Za-z0-9]{{9}}/" if self._form == "name and id" else ""

        def call(tool: Tool, arguments: str) -> str:
            name = grammars.quoted(tool.name)
            return f"{mark(_BEGIN)} {name} {call_id} {mark(_ARGUMENTS)} {arguments}"

        return grammars.calls(tools, call, parallel=parallel)
