"""Calls as FunctionGemma and Gemma 4 write them: `call:NAME{key:<escape>text<escape>,other:3}`."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import ClassVar, Literal, NamedTuple

from ..pieces import CallArguments, CallBegan, CallEnded
from .family import Family, Mark, Tool, Tools
from .schemas.members import Parameters
from .schemas.types import TYPES
from .source import LONGEST_NAME, NotACall, OnlyText, Parsing, Source
from .syntax import grammars
from .syntax.gemma_grammar import GemmaRules
from .syntax.json_calls import whole_call
from .syntax.json_text import value_fragments, whole_string
from .syntax.values import as_json, escaped

_CALL = "call:"
_ANY_TYPE = frozenset(TYPES)
_DEEPEST = 64


class _Form(NamedTuple):
    """The marks of one generation of models; ``quote`` stands on both sides of a string."""

    begin: str
    end: str
    quote: str


_FORMS = {
    "function": _Form("<start_function_call>", "<end_function_call>", "<escape>"),
    "4": _Form("<|tool_call>", "<tool_call|>", '<|"|>'),
}
_QUOTES = tuple(form.quote for form in _FORMS.values())
_ENDS = tuple(form.end for form in _FORMS.values())


class Gemma(Family):
    """One section for each call. Both forms are understood; ``form`` tells the grammar's."""

    name: ClassVar[str] = "gemma"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = tuple(form.begin for form in _FORMS.values())
    loose_openings: ClassVar[tuple[str, ...]] = (_CALL,)

    def __init__(self, form: Literal["function", "4"] = "4") -> None:
        self._form = _FORMS[form]

    @classmethod
    def of_template(cls, template: str) -> Gemma:
        """Return the family with the form that a model's template renders."""
        return cls("4" if _FORMS["4"].begin in template else "function")

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        begin = yield from source.try_take(*self.openings)
        if begin is None:
            yield from self._unmarked(source, tools)
        while begin is not None:
            yield from source.skip_space()
            call = self._call(source, tools)
            yield from whole_call(call, source, *_ENDS, before=begin)
            yield from source.skip_space()
            if (yield from source.follows(_CALL)) is None:
                break
        yield from source.try_take(*_ENDS)
        source.complete_call()

    def _unmarked(self, source: Source, tools: Tools) -> Parsing:
        """Parse a call whose first mark the model forgot, as Gemma 4 does behind a thought."""
        yield from source.expect(_CALL)
        name = yield from source.take_word()
        if (follows := (yield from source.peek(1))) != "{":
            raise OnlyText(f"`{follows}` stands where the call's `{{` must")
        yield from self._arguments(source, name, tools)
        yield from source.skip_space()

    def _call(self, source: Source, tools: Tools) -> Parsing:
        # Gemma 4 leaves the word out at times, or doubles the colon.
        yield from source.expect(_CALL, f":{_CALL}", ":")
        name = (yield from source.until("{", *_ENDS, most=LONGEST_NAME)).strip()
        yield from self._arguments(source, name, tools)

    def _arguments(self, source: Source, name: str, tools: Tools) -> Parsing:
        tool = tools.named(name)
        yield CallBegan(name)
        yield from _object(source, 0, tool)
        source.complete_call()
        yield CallEnded()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section for each call."""
        form = self._form
        rules: list[str] = []
        calls: list[str] = []
        for at, tool in enumerate(tools):
            arguments = GemmaRules(tool, at, form.quote, mark)
            head = grammars.quoted(f"call:{tool.name}")
            calls.append(f"{mark(form.begin)} {head} {arguments.terms} {mark(form.end)}")
            rules += arguments.rules
        return grammars.sections(calls, rules, parallel=parallel)


def _object(source: Source, depth: int, tool: Tool | None = None) -> Parsing:
    """Take an object; ``tool`` tells the types of the arguments' own members."""
    yield from _deepen(source, "{", depth)
    yield CallArguments("{")
    comma = ""
    parameters = None if tool is None else Parameters(tool.parameters)
    while True:
        yield from source.skip_space()
        if (yield from source.try_take("}")) is not None:
            break
        key = yield from _key(source)
        yield CallArguments(f"{comma}{json.dumps(key, ensure_ascii=False)}: ")
        types = frozenset[str]() if parameters is None else parameters.types(key)
        yield from _value(source, types, depth)
        yield from _separate(source, "}")
        comma = ", "
    yield CallArguments("}")


def _list(source: Source, depth: int) -> Parsing:
    yield from _deepen(source, "[", depth)
    yield CallArguments("[")
    comma = ""
    while True:
        yield from source.skip_space()
        if (yield from source.try_take("]")) is not None:
            break
        if comma:
            yield CallArguments(comma)
        yield from _value(source, frozenset(), depth)
        yield from _separate(source, "]")
        comma = ", "
    yield CallArguments("]")


def _deepen(source: Source, bracket: str, depth: int) -> Generator[None, None, None]:
    yield from source.expect(bracket)
    if depth > _DEEPEST:
        raise NotACall(f"the call's arguments are nested deeper than {_DEEPEST} levels")


def _key(source: Source) -> Generator[None, None, str]:
    """Take a key and the colon behind it. A key may stand between a string's marks."""
    quote = yield from source.try_take(*_QUOTES)
    if quote is not None:
        key = yield from source.until(quote, most=LONGEST_NAME)
        yield from source.expect(quote)
        yield from source.skip_space()
    elif (yield from source.peek(1)) == '"':
        key = yield from whole_string(source)
        yield from source.skip_space()
    else:
        key = (yield from source.until(":", *_ENDS, most=LONGEST_NAME)).strip()
    yield from source.expect(":")
    return key


def _value(source: Source, types: frozenset[str], depth: int) -> Parsing:
    yield from source.skip_space()
    first = yield from source.peek(1)
    if first == "{":
        yield from _object(source, depth + 1)
    elif first == "[":
        yield from _list(source, depth + 1)
    elif first == '"':
        for fragment in value_fragments(source):
            yield None if fragment is None else CallArguments(fragment)
    elif (quote := (yield from source.try_take(*_QUOTES))) is not None:
        yield from _string(source, quote, types)
    else:
        text = (yield from source.until(",", "}", "]", *_ENDS)).strip()
        yield CallArguments(as_json(text, types or _ANY_TYPE))


def _string(source: Source, quote: str, types: frozenset[str]) -> Parsing:
    """Take a string behind its first mark. It has another type if the schema allows no string."""
    streamed = not types or "string" in types
    whole: list[str] = []
    if streamed:
        yield CallArguments('"')
    for fragment in source.pieces_until(quote):
        if fragment is None:
            yield None
        elif streamed:
            yield CallArguments(escaped(fragment))
        else:
            whole.append(fragment)
    yield from source.expect(quote)
    yield CallArguments('"' if streamed else as_json("".join(whole), types))


def _separate(source: Source, closing: str) -> Generator[None, None, None]:
    """Take the comma between two members, which models leave out behind a string at times."""
    yield from source.skip_space()
    if (yield from source.try_take(",")) is not None:
        return
    follows = yield from source.peek(1)
    if (
        follows in ("", "}", "]", "<")
        and (yield from source.follows(closing, *_QUOTES)) is None
    ):
        yield from source.expect(closing)
