"""Calls as GLM 4.5 and later write them: a name, then `<arg_key>` and `<arg_value>` in turn."""

from __future__ import annotations

import re
from typing import ClassVar

from ..pieces import CallBegan, CallEnded
from .family import Family, Mark, Tools
from .source import LONGEST_NAME, Parsing, Source
from .syntax import grammars
from .syntax.json_calls import parse_objects, whole_call
from .syntax.tag_grammar import CallRules, Close, TagForm
from .syntax.tags import Arguments

_BEGIN = "<tool_call>"
_END = "</tool_call>"
_KEY = "<arg_key>"
_KEY_END = "</arg_key>"
_VALUE = "<arg_value>"
_VALUE_END = "</arg_value>"
_LINE = "\\n"
_NAMES = re.compile(r"(?!\s)(?:(?!</arg_key>)[^\n]){1,256}(?<!\s)")


class Glm(Family):
    """One section for each call. ``lines`` tells the grammar to put each mark on its own line."""

    name: ClassVar[str] = "glm"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = (_BEGIN,)

    def __init__(self, *, lines: bool = True) -> None:
        self._lines = lines

    @classmethod
    def of_template(cls, template: str) -> Glm:
        """Return the family with the form that a model's template renders: GLM 4.7 has no lines."""
        return cls(lines=f"{_KEY_END}{_VALUE}" not in template)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        yield from source.expect(_BEGIN)
        yield from source.skip_space()
        if (yield from source.peek(1)) in ("{", "["):
            call = parse_objects(source, tools)
        else:
            call = self._call(source, tools)
        yield from whole_call(call, source, _END, before=_BEGIN)
        yield from source.skip_space()
        yield from source.try_take(_END)
        source.complete_call()

    def _call(self, source: Source, tools: Tools) -> Parsing:
        name = (yield from source.until("\n", _LINE, _KEY, _END, most=LONGEST_NAME)).strip()
        tool = tools.named(name)
        yield CallBegan(name)
        arguments = Arguments(tool)
        while True:
            yield from self._skip_lines(source)
            if (yield from source.expect(_KEY, _END)) == _END:
                break
            key = (yield from source.until(_KEY_END, most=LONGEST_NAME)).strip()
            yield from source.expect(_KEY_END)
            yield from self._skip_lines(source)
            yield from source.expect(_VALUE)
            yield from arguments.read(source, key, _VALUE_END)
            yield from source.expect(_VALUE_END)
        yield arguments.end()
        source.complete_call()
        yield CallEnded()

    def _skip_lines(self, source: Source) -> Parsing:
        """Take white space, and `\\n` as two characters, which the models write at times."""
        yield from source.skip_space()
        while (yield from source.try_take(_LINE)) is not None:
            yield from source.skip_space()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section for each call."""
        line = '"\\n"' if self._lines else ""
        form = TagForm(
            before=mark(_KEY),
            after=f"{mark(_KEY_END)} {line} {mark(_VALUE)}",
            close=Close("", _VALUE_END, ""),
            behind=line,
            names=_NAMES,
            ends=(_VALUE_END,),
        )
        rules: list[str] = []
        calls: list[str] = []
        for at, tool in enumerate(tools):
            parameters = CallRules(tool, at, mark, form)
            head = grammars.quoted(tool.name)
            calls.append(f"{mark(_BEGIN)} {head} {line} {parameters.terms} {mark(_END)}")
            rules += parameters.rules
        return grammars.sections(calls, rules, parallel=parallel, between=line)
