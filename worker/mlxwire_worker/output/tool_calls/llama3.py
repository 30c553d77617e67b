"""Calls as Llama 3 and 4 write them: JSON objects as the whole answer, or a list of Python calls."""

from __future__ import annotations

from typing import ClassVar

from .family import Family, Mark, Tool, Tools
from .source import OnlyText, Parsing, Source
from .syntax import grammars, python_calls
from .syntax.json_calls import parse_object, parse_objects

_TAGS = ("<|python_tag|>", "<|python_start|>")
_END = "<|python_end|>"
_FENCE = "```"


class Llama3(Family):
    """Calls open the answer, or stand behind text or a tag. Semicolons, commas or white space part them."""

    name: ClassVar[str] = "llama3"
    openings: tuple[str, ...] = _TAGS
    opens_text: ClassVar[tuple[str, ...]] = ("{", "[")
    loose_openings: ClassVar[tuple[str, ...]] = (*opens_text, _FENCE)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse all calls. Raises: NotACall, CutOff; OnlyText for an answer that is another JSON."""
        certain = (yield from source.try_take(*_TAGS)) is not None
        fence = yield from source.try_take(_FENCE)
        if fence is not None:
            yield from source.take_word()
        yield from source.skip_space()
        first = yield from source.peek(1)
        if first == "{":
            yield from self._objects(source, tools, certain=certain)
        elif first == "[":
            yield from self._list(source, tools, certain=certain)
        elif fence is None:
            yield from python_calls.parse_call(source, tools)
        else:
            raise OnlyText("the fence holds no call")
        yield from source.skip_space()
        if fence is not None:
            yield from source.try_take(fence)
            yield from source.skip_space()
        yield from source.try_take(_END)
        source.complete_call()

    def _objects(self, source: Source, tools: Tools, *, certain: bool) -> Parsing:
        yield from parse_object(source, tools, certain=certain)
        while True:
            yield from source.skip_space()
            if (yield from source.try_take(";", ",")) is not None:
                yield from source.skip_space()
            source.complete_call()
            if (yield from source.peek(1)) != "{":
                return
            yield from parse_object(source, tools, certain=False)

    def _list(self, source: Source, tools: Tools, *, certain: bool) -> Parsing:
        size = 1
        while (next_text := (yield from source.peek(size)))[1:].isspace() or size == 1:
            if len(next_text) < size:
                break
            size += 1
        if next_text.endswith("{"):
            yield from parse_objects(source, tools, certain=certain)
        else:
            yield from python_calls.parse_calls(source, tools, certain=certain)

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of JSON objects with nothing before them."""

        def call(tool: Tool, arguments: str) -> str:
            return grammars.object_call(tool, arguments, key="parameters")

        return grammars.calls(tools, call, parallel=parallel, between='"; "')
