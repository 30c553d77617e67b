"""Calls as Qwen3-Coder writes them: `<function=NAME>` with a `<parameter=NAME>` for each argument."""

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
_FUNCTION = "<function="
_FUNCTION_END = "</function>"
_PARAMETER = "<parameter="
_PARAMETER_END = "</parameter>"
_ENDS = (_PARAMETER_END, f"\n{_PARAMETER}", f"\n{_FUNCTION_END}", f"\n{_END}")
"""The ends of a value. Models forget the first one; the others count only on a new line."""
_NAMES = re.compile(r"(?![ \"'])[^>\n]{1,256}(?<![ \"'])")


class Qwen3Coder(Family):
    """One section for each call. Forgotten marks around a function, and JSON, are understood too."""

    name: ClassVar[str] = "qwen3-coder"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = (_BEGIN, _FUNCTION)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        yield from source.try_take(_BEGIN)
        yield from source.skip_space()
        if (yield from source.peek(1)) in ("{", "["):
            yield from whole_call(parse_objects(source, tools), source, _END, before=_BEGIN)
        else:
            yield from self._functions(source, tools)
        yield from source.skip_space()
        yield from source.try_take(_END)
        source.complete_call()

    def _functions(self, source: Source, tools: Tools) -> Parsing:
        while True:
            call = self._call(source, tools)
            yield from whole_call(call, source, _FUNCTION_END, _END, before=_BEGIN)
            yield from source.skip_space()
            if (yield from source.follows(_FUNCTION)) is None:
                return

    def _call(self, source: Source, tools: Tools) -> Parsing:
        yield from source.expect(_FUNCTION)
        name = (yield from source.until(">", most=LONGEST_NAME)).strip(" \"'")
        yield from source.expect(">")
        tool = tools.named(name)
        yield CallBegan(name)
        arguments = Arguments(tool)
        while True:
            yield from source.skip_space()
            if (yield from source.expect(_PARAMETER, _FUNCTION_END, _END)) != _PARAMETER:
                break
            key = (yield from source.until(">", most=LONGEST_NAME)).strip(" \"'")
            yield from source.expect(">")
            yield from arguments.read(source, key, *_ENDS, lines=True)
            yield from source.try_take(_PARAMETER_END)
        yield arguments.end()
        source.complete_call()
        yield CallEnded()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section for each call."""
        form = TagForm(
            before=grammars.quoted(_PARAMETER),
            after=grammars.quoted(">\n"),
            close=Close("\n", _PARAMETER_END, ""),
            behind='"\\n"',
            names=_NAMES,
            ends=_ENDS,
        )
        rules: list[str] = []
        calls: list[str] = []
        for at, tool in enumerate(tools):
            parameters = CallRules(tool, at, mark, form)
            head = grammars.quoted(f"\n{_FUNCTION}{tool.name}>\n")
            tail = grammars.quoted(f"{_FUNCTION_END}\n")
            calls.append(f"{mark(_BEGIN)} {head} {parameters.terms} {tail} {mark(_END)}")
            rules += parameters.rules
        return grammars.sections(calls, rules, parallel=parallel, between='"\\n"')
