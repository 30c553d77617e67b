"""Parses calls that are JSON objects with a name and arguments, as several families write them."""

from __future__ import annotations

from collections.abc import Callable, Generator

from ...pieces import CallArguments, CallBegan, CallEnded
from ..family import Tools
from ..source import CutOff, NotACall, OnlyText, Parsing, Source
from .json_text import (
    object_fragments,
    object_within,
    value_fragments,
    whole_string,
    whole_value,
)

_NAMES = ("name", "function")
_ARGUMENTS = ("arguments", "parameters")
_KEYS = (*_NAMES, *_ARGUMENTS, "id", "type")


class _JsonCall:
    """One call while it is read. ``certain`` is False if the object may be anything else."""

    def __init__(self, tools: Tools, *, certain: bool) -> None:
        self._tools = tools
        self._certain = certain
        self._call_id: str | None = None
        self._known_key = self._named = False
        self._unknown: NotACall | None = None
        self._began = False
        self._given = False
        self._strange: str | None = None
        """The name of a member that no call has."""
        self._held: list[str] = []

    def parse(self, source: Source) -> Parsing:
        """Parse the object that comes next."""
        try:
            yield from self._members(source)
        except NotACall as problem:
            begun = self._known_key if isinstance(problem, CutOff) else self._named
            if self._certain or begun:
                raise
            raise OnlyText(str(problem)) from None
        if self._unknown is not None:
            raise self._unknown
        if not self._named:
            raise NotACall("the call has no `name`")
        if not self._given and self._strange is not None:
            raise NotACall(f"the call has no `{_ARGUMENTS[0]}`, but `{self._strange[:64]}`")
        if not self._given:
            yield CallArguments("{}")
        source.complete_call()
        yield CallEnded()

    def _members(self, source: Source) -> Parsing:
        yield from source.expect("{")
        yield from source.skip_space()
        if (yield from source.try_take("}")) is not None:
            return
        while True:
            key = yield from whole_string(source)
            if not self._certain and key not in _KEYS:
                raise NotACall(f"`{key[:64]}` is no part of a call")
            self._known_key = True
            yield from source.skip_space()
            yield from source.expect(":")
            yield from source.skip_space()
            yield from self._member(source, key)
            yield from source.skip_space()
            if (yield from source.expect(",", "}")) == "}":
                return
            yield from source.skip_space()

    def _member(self, source: Source, key: str) -> Parsing:
        first = yield from source.peek(1)
        if key in _NAMES and first == '"' and not self._named:
            yield from self._name(source, (yield from whole_string(source)))
        elif key == "function" and first == "{":
            yield from self._members(source)
        elif key in _ARGUMENTS:
            if self._given:
                raise NotACall("the call has its arguments twice")
            self._given = True
            yield from self._arguments(source, first)
        elif key == "id" and first == '"':
            self._call_id = yield from whole_string(source)
        else:
            if key not in _KEYS:
                self._strange = key
            for fragment in value_fragments(source):
                if fragment is None:
                    yield None

    def _name(self, source: Source, name: str) -> Parsing:
        self._named = True
        try:
            self._tools.named(name)
        except NotACall as problem:
            if not self._certain:
                if not self._given:
                    yield from _expect_arguments(source)
                raise
            # The object is read to its end first, because its strings may hold marks.
            self._unknown = problem
            return
        self._began = self._certain = True
        yield CallBegan(name, self._call_id or None)
        if self._held:
            yield CallArguments("".join(self._held))

    def _arguments(self, source: Source, first: str) -> Parsing:
        if first != "{":
            value = yield from whole_value(source)
            yield from self._pass_on(object_within(value))
            return
        for fragment in object_fragments(source):
            if fragment is None:
                yield None
            else:
                yield from self._pass_on(fragment)

    def _pass_on(self, fragment: str) -> Parsing:
        if self._began:
            yield CallArguments(fragment)
        else:
            self._held.append(fragment)


def _expect_arguments(source: Source) -> Generator[None, None, None]:
    """Take the text from a name to the key of its arguments. Raises: OnlyText if none follows."""
    try:
        yield from source.skip_space()
        yield from source.expect(",")
        yield from source.skip_space()
        key = yield from whole_string(source)
    except NotACall as problem:
        raise OnlyText(str(problem)) from None
    if key not in _ARGUMENTS:
        raise OnlyText(f"`{key[:64]}` stands where the call's `{_ARGUMENTS[0]}` must")


def parse_object(source: Source, tools: Tools, *, certain: bool = True) -> Parsing:
    """Parse one call, `{"name": …, "arguments": {…}}`. Raises: NotACall, CutOff.

    Also known: `parameters` for `arguments`, OpenAI's `function` around both, an `id` before the
    name, and arguments that are null, missing, or a string that holds the object.
    Unless the text is ``certain`` to be a call, it is `OnlyText` at the first key that no call has.
    """
    return _JsonCall(tools, certain=certain).parse(source)


def parse_objects(source: Source, tools: Tools, *, certain: bool = True) -> Parsing:
    """Parse one call, or a list of calls. Raises: NotACall, CutOff."""
    if (yield from source.try_take("[")) is None:
        yield from parse_object(source, tools, certain=certain)
        return
    yield from source.skip_space()
    while True:
        yield from parse_object(source, tools, certain=certain)
        yield from source.skip_space()
        if (yield from source.expect(",", "]")) == "]":
            source.complete_call()
            return
        yield from source.skip_space()


def parse_arguments(
    source: Source, name: str, tools: Tools, call_id: str | None, *ends: str
) -> Parsing:
    """Parse the arguments of a call whose name was read. Raises: NotACall, CutOff.

    They are `{}` if one of the ``ends`` follows at once, which is not taken. Arguments of an unknown
    tool are read to their end too, because their strings may hold marks.
    """
    unknown: NotACall | None = None
    try:
        tools.named(name)
    except NotACall as problem:
        unknown = problem
    else:
        yield CallBegan(name, call_id)
    empty = bool(ends) and (yield from source.follows(*ends)) is not None
    if empty and unknown is None:
        yield CallArguments("{}")
    for fragment in () if empty else object_fragments(source):
        if fragment is None:
            yield None
        elif unknown is None:
            yield CallArguments(fragment)
    if unknown is not None:
        raise unknown


def whole_call(
    parsing: Parsing, source: Source, end: str, *section_ends: str, before: str
) -> Parsing:
    """Parse one call, or one list of calls; take any other text up to its ``end``.

    A mark that ends the section behind it is taken too, but nothing from the mark ``before`` on, with
    which the next call begins. Raises: what ``parsing`` raises.
    """
    try:
        yield from parsing
    except CutOff:
        raise
    except NotACall:
        yield from _take_rest(source, (end, *section_ends), before)
        raise


def parse_section(
    source: Source,
    call: Callable[[], Parsing],
    *,
    openings: tuple[str, ...],
    section_ends: tuple[str, ...],
    begin: str,
    end: str,
    needs_begin: bool,
) -> Parsing:
    """Parse a section of calls, each between ``begin`` and ``end``; ``call`` parses what is between.

    The marks of the section, and ``end``, may be missing; so may ``begin`` unless ``needs_begin``.
    Raises: NotACall, CutOff.
    """
    yield from source.try_take(*openings)
    yield from source.skip_space()
    if (yield from source.try_take(*section_ends)) is not None:
        return  # an empty section
    while True:
        if needs_begin:
            yield from source.expect(begin)
        else:
            yield from source.try_take(begin)
        yield from whole_call(call(), source, end, *section_ends, before=begin)
        yield from source.skip_space()
        yield from source.try_take(end)
        yield from source.skip_space()
        ended = yield from source.try_take(*section_ends)
        source.complete_call()
        if ended is not None or (yield from source.follows(begin)) is None:
            return


def _take_rest(
    source: Source, ends: tuple[str, ...], before: str
) -> Generator[None, None, None]:
    try:
        yield from source.until(*ends, before)
    except CutOff:
        return
    if (yield from source.try_take(*ends)) == ends[0] and len(ends) > 1:
        yield from source.skip_space()
        yield from source.try_take(*ends[1:])
