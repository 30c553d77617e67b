"""Calls as Hermes and Qwen write them: `<tool_call>` around a JSON object for each call.

Small models of these families also open an answer with the bare object, put it in a fence or in other
tags, or write `<function=NAME>` before its arguments. All that is understood where it leads to a call
of one of the tools, and is text without a remark where it does not.
"""

from __future__ import annotations

from typing import ClassVar

from ..pieces import CallEnded
from .family import Family, Mark, Tool, Tools
from .source import CutOff, NotACall, OnlyText, Parsing, Source
from .syntax import grammars
from .syntax.json_calls import parse_arguments, parse_object, parse_objects, whole_call

_BEGIN = "<tool_call>"
_END = "</tool_call>"

_FENCE = "```"
_TAGS = ("<tool>", "<tools>", "<response>", "<function_call>", "<json>", "<JSON>", "<xml>")
_FUNCTIONS = ("<function=", '<function name="')
_FUNCTION_END = "</function>"


class Hermes(Family):
    """One section for each call. A list of calls and a forgotten end mark are understood too."""

    name: ClassVar[str] = "hermes"
    openings: tuple[str, ...] = (_BEGIN,)
    opens_text: ClassVar[tuple[str, ...]] = ("{", _FENCE, *_TAGS, *_FUNCTIONS)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff; OnlyText for another beginning of an answer."""
        if (yield from source.try_take(_BEGIN)) is None:
            yield from self._unmarked(source, tools)
            return
        yield from source.skip_space()
        if (first := (yield from source.peek(1))) and first not in "{[":
            raise NotACall(f"`{first}` stands where the call's `{{` must")
        while True:
            yield from whole_call(parse_objects(source, tools), source, _END, before=_BEGIN)
            yield from source.skip_space()
            while (yield from source.try_take("}")):  # some models close one brace too many
                yield from source.skip_space()
            source.complete_call()
            if (yield from source.try_take(",", ";")) is not None:
                yield from source.skip_space()
            if (yield from source.peek(1)) != "{":  # and some write all calls into one section
                break
        yield from source.try_take(_END)
        source.complete_call()

    def _unmarked(self, source: Source, tools: Tools) -> Parsing:
        fence = yield from source.try_take(_FENCE)
        if fence is not None:
            yield from source.take_word()
        while True:
            yield from source.skip_space()
            began = False
            try:
                for piece in self._unmarked_call(source, tools):
                    began = began or piece is not None
                    yield piece
            except CutOff:
                raise
            except NotACall as problem:
                if began:
                    raise
                raise OnlyText(str(problem)) from None
            yield from source.skip_space()
            source.complete_call()
            if (yield from source.follows("{", *_TAGS, *_FUNCTIONS)) is None:
                break
        if fence is not None:
            yield from source.try_take(_FENCE)
            source.complete_call()

    def _unmarked_call(self, source: Source, tools: Tools) -> Parsing:
        if (function := (yield from source.try_take(*_FUNCTIONS))) is not None:
            name = yield from source.take_word()
            yield from source.expect(">" if function.endswith("=") else '">')
            yield from source.skip_space()
            yield from parse_arguments(source, name, tools, None)
            source.complete_call()
            yield CallEnded()
            yield from source.skip_space()
            yield from source.try_take(_FUNCTION_END)
            return
        tag = yield from source.try_take(*_TAGS)
        yield from source.skip_space()
        yield from parse_object(source, tools, certain=False)
        if tag is not None:
            yield from source.skip_space()
            yield from source.try_take(tag.replace("<", "</"))

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section for each call."""

        def call(tool: Tool, arguments: str) -> str:
            body = grammars.object_call(tool, arguments)
            return f'{mark(_BEGIN)} "\\n" {body} "\\n" {mark(_END)}'

        return grammars.calls(tools, call, parallel=parallel, between='"\\n"')
