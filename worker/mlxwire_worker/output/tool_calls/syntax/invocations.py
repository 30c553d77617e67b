"""Parses and enforces sections of `<invoke name="…">` with a `<parameter name="…">` for each argument."""

from __future__ import annotations

import re
from typing import ClassVar

from ...pieces import CallBegan, CallEnded
from ..family import Family, Mark, Tools
from ..source import LONGEST_NAME, NotACall, Parsing, Source
from . import grammars
from .json_calls import parse_arguments, whole_call
from .tag_grammar import CallRules, Close, TagForm
from .tags import Arguments

_NAME = re.compile(
    r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))\s*(?:string\s*=\s*["']?(true|false)["']?\s*)?"""
)
_TEXT = frozenset({"string"})
_NAMES = re.compile(r'[^">\n]{1,200}')


class Invocations(Family):
    """One section with one or more calls, which begins with one of the ``openings``.

    A family whose tags have a token of their own may list the tag of a call among them.

    ``prefix`` stands before the name of each tag. ``typed`` is True if a parameter's tag tells if it
    is a string.
    """

    prefix: ClassVar[str] = ""
    typed: ClassVar[bool] = False

    def __init__(self, section: str | None = None) -> None:
        self._section = section or self.openings[0]
        self._invoke = f"<{self.prefix}invoke name="
        sections = [opening for opening in self.openings if opening != self._invoke]
        self._ends = tuple(f"</{section[1:]}" for section in sections)
        self._invoke_end = f"</{self.prefix}invoke>"
        self._parameter = f"<{self.prefix}parameter name="
        self._parameter_end = f"</{self.prefix}parameter>"

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        if (yield from source.follows(self._invoke)) is None:
            yield from source.expect(*self.openings)
        while True:
            yield from source.skip_space()
            call = self._call(source, tools)
            ends = (self._invoke_end, *self._ends)
            yield from whole_call(call, source, *ends, before=self._section)
            yield from source.skip_space()
            ended = yield from source.try_take(*self._ends)
            source.complete_call()
            if ended is not None or (yield from source.follows(self._invoke)) is None:
                return

    def _call(self, source: Source, tools: Tools) -> Parsing:
        yield from source.expect(self._invoke)
        name, _ = _attributes((yield from source.until(">", most=LONGEST_NAME)))
        yield from source.expect(">")
        tool = tools.named(name)
        yield from source.skip_space()
        if (yield from source.peek(1)) == "{":
            yield from parse_arguments(source, name, tools, None)
            yield from source.skip_space()
            yield from source.try_take(self._invoke_end)
            source.complete_call()
            yield CallEnded()
            return
        yield CallBegan(name)
        arguments = Arguments(tool)
        while True:
            yield from source.skip_space()
            if (yield from source.follows(*self._ends)) is not None:
                break  # the model forgot the call's own end
            mark = yield from source.expect(self._parameter, self._invoke_end)
            if mark == self._invoke_end:
                break
            key, string = _attributes((yield from source.until(">", most=LONGEST_NAME)))
            yield from source.expect(">")
            types = arguments.types(key)
            if string == "true" and (not types or "string" in types):
                types = _TEXT
            elif string == "false" and types != _TEXT:
                types -= _TEXT
            yield from arguments.read(source, key, self._parameter_end, types=types)
            yield from source.expect(self._parameter_end)
        yield arguments.end()
        source.complete_call()
        yield CallEnded()

    def grammar(self, tools: Tools, mark: Mark, *, parallel: bool) -> str:
        """Return a grammar of one section."""
        close = Close("", self._parameter_end, "")
        if self.prefix:
            close = Close("</", self.prefix, "parameter>")
        form = TagForm(
            before=self._terms(f'{self._parameter}"', mark),
            after=grammars.quoted('">'),
            close=close,
            behind='"\\n"',
            names=_NAMES,
            ends=(self._parameter_end,),
            tells=self._attribute if self.typed else None,
        )
        rules: list[str] = []
        calls: list[str] = []
        for at, tool in enumerate(tools):
            head = self._terms(f'{self._invoke}"{tool.name}">\n', mark)
            parameters = CallRules(tool, at, mark, form)
            calls.append(
                f'{head} {parameters.terms} {self._terms(self._invoke_end, mark)} "\\n"'
            )
            rules += parameters.rules
        begin = f'{self._terms(self._section, mark)} "\\n"'
        end = self._terms(f"</{self._section[1:]}", mark)
        return grammars.sections(calls, rules, parallel=parallel, begin=begin, end=end)

    def _terms(self, text: str, mark: Mark) -> str:
        """Return a text as terms; the prefix is a token of its own, as are tags without one."""
        if not self.prefix:
            return mark(text) if text.endswith("tool_call>") else grammars.quoted(text)
        return f" {mark(self.prefix)} ".join(map(grammars.quoted, text.split(self.prefix)))

    @staticmethod
    def _attribute(text: bool) -> str:
        return f'" string="{str(text).lower()}">'


def _attributes(text: str) -> tuple[str, str | None]:
    """Return the name in a tag, and what the tag says about strings. Raises: NotACall."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise NotACall(f"`{text[:64]}` stands where a name in quotes must")
    return found[1] or found[2] or found[3] or "", found[4]
