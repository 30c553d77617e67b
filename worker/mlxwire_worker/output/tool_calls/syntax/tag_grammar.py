"""Writes grammars of calls whose parameters stand between tags, as text without quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..family import Mark, Tool
from ..schemas.branches import Branch, Place, Unenforceable
from ..schemas.members import Member, Members, Others, alternatives, as_one, combined, document
from ..schemas.texts import TextForm, as_rust, choices_of, text_forms
from ..schemas.types import TYPES, declared_types, type_of, types_of
from . import grammars
from .counting import Counting
from .values import as_json

_KEY = "[A-Za-z0-9_.\\-]{1,64}"
_NO_OTHER_TYPE = r"""(?:[^\s\-+.0-9\[{("'](?s:.)*)?"""
"""Text that can't be read as another type, unless it begins with one of the words."""
_WORDS = "(?i:true|false|null|none)(?s:.)*"


class Close(NamedTuple):
    """The end of a value: text before a mark, the mark, and text behind it."""

    before: str
    mark: str
    after: str

    @property
    def text(self) -> str:
        """Return the whole end as text."""
        return "".join(self)

    def terms(self, mark: Mark) -> str:
        """Return the end as terms of a rule."""
        before, after = (
            grammars.quoted(text) if text else "" for text in (self.before, self.after)
        )
        return f"{before} {mark(self.mark)} {after}"


class TagForm(NamedTuple):
    """A parameter as ``before``, its name, ``after``, its value, ``close`` and ``behind``.

    ``before``, ``after`` and ``behind`` are terms. ``names`` matches the names that its parser reads
    back, and ``ends`` are the texts that its parser takes for the end of a value. A family whose tags
    tell if a value is text has ``tells`` in place of ``after``, which maps that to a text.
    """

    before: str
    after: str
    close: Close
    behind: str
    names: re.Pattern[str]
    ends: tuple[str, ...]
    tells: Callable[[bool], str] | None = None

    def between(self, *, text: bool) -> str:
        """Return the terms between the name of a parameter and its value."""
        return self.after if self.tells is None else grammars.quoted(self.tells(text))


class _Value(NamedTuple):
    """One form of a value: the terms for it with its end, and True if it is written as text."""

    terms: str
    text: bool


class CallRules:
    """The rules for all parameters of one tool's call; ``terms`` stand for them."""

    def __init__(self, tool: Tool, at: int, mark: Mark, form: TagForm) -> None:
        self._tool = tool
        self._root = tool.parameters
        self._mark = mark
        self._form = form
        self._name = f"value_{at}"
        self.rules: list[str] = []
        kinds = [self._kind(members) for members in alternatives(tool.parameters)]
        self.terms = kinds[0] if len(kinds) == 1 else self._rule(" | ".join(kinds))

    def _rule(self, body: str, *, terminal: bool = False) -> str:
        """Add a rule, and return its name."""
        name = f"{self._name}_{len(self.rules)}"
        name = name.upper() if terminal else name
        self.rules.append(f"{name}: {body}")
        return name

    def _kind(self, members: Members) -> str:
        named = [(self._member(member), member.required) for member in members.named]
        others = [self._other(others, members) for others in members.others]
        other = self._rule(" | ".join(others)) if others else None
        return Counting(named, other, members, self._rule).terms()

    def _member(self, member: Member) -> str:
        if self._form.names.fullmatch(member.name) is None:
            raise Unenforceable(
                member.path,
                f"the name {member.name[:64]!r} can't stand in the form of this model's calls",
            )
        return self._given(grammars.quoted(member.name), member.places)

    def _other(self, others: Others, members: Members) -> str:
        allowed = _KEY
        if others.pattern is not None:
            allowed = as_rust(str(others.pattern.schema), others.pattern.path)
        refused = [re.escape(member.name) for member in members.named]
        if others.pattern is None:
            refused += [
                as_rust(str(each.pattern.schema), each.pattern.path)
                for each in members.others
                if each.pattern is not None
            ]
        key = f"/{_KEY}/ & /{allowed}/"
        if refused:
            key += f" & ~/{'|'.join(refused)}/"
        return self._given(self._rule(key, terminal=True), others.places)

    def _given(self, name: str, places: Branch) -> str:
        """Return a rule for a parameter and its value."""
        form = self._form
        return self._rule(
            " | ".join(
                f"{form.before} {name} {form.between(text=value.text)} {value.terms} {form.behind}"
                for value in self._values(places)
            )
        )

    def _values(self, places: Branch) -> Iterator[_Value]:
        """Yield the forms of a value, each with the terms for its end."""
        schema = combined(places)
        types = types_of(schema, self._root)
        read_as_text = types == {"string"} or self._form.tells is not None
        if schema is True:
            yield _Value(self._text(TextForm(())), True)
        elif (single := _only(places)) is not None and (found := choices_of(single.schema)):
            yield from self._choices(single, found, types)
        else:
            written = declared_types(schema, self._root) or frozenset(TYPES)
            if others := sorted(written - {"string"}):
                part = (
                    schema if "string" not in written else {"allOf": [schema, {"type": others}]}
                )
                yield _Value(self._json(part), False)
            if "string" in written:
                for text in text_forms(as_one(places), self._root):
                    yield from self._text_values(text, types, alone=read_as_text)

    def _text_values(
        self, form: TextForm, types: frozenset[str], *, alone: bool
    ) -> Iterator[_Value]:
        if form.choices is None:
            yield _Value(self._text(form, alone=alone), True)
            return
        for text, path in form.choices:
            self._check_choice(text, text, types, path)
            yield _Value(f"{_term(text)} {self._form.close.terms(self._mark)}", True)

    def _choices(
        self, place: Place, found: tuple[str, list[Any]], types: frozenset[str]
    ) -> Iterator[_Value]:
        keyword, values = found
        for value in values:
            if types and type_of(value) not in types | (
                {"integer"} if "number" in types else set()
            ):
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self._check_choice(value, text, types, (*place.path, keyword))
            closing = self._form.close.terms(self._mark)
            yield _Value(f"{_term(text)} {closing}", isinstance(value, str))

    def _check_choice(self, value: Any, text: str, types: frozenset[str], path: Any) -> None:
        """Refuse a value of `enum` or `const` that the parser would not read back."""
        told = self._form.tells is not None or types == {"string"}
        read = value if told and isinstance(value, str) else json.loads(as_json(text, types))
        if isinstance(read, bool) != isinstance(value, bool) or read != value:
            raise Unenforceable(path, f"{text[:64]!r} would be read as another value")
        self._check_text(text, path)

    def _check_text(self, text: str, path: Any) -> None:
        for end in (*self._form.ends, self._form.close.mark):
            if end in text:
                raise Unenforceable(
                    path, f"a text with {end!r} ends the argument in this model's form"
                )

    def _json(self, schema: Any) -> str:
        described = grammars.value_schema(
            document(schema, self._root), strict=self._tool.strict
        )
        return f"{self._rule('%json ' + described)} {self._form.close.terms(self._mark)}"

    def _text(self, form: TextForm, *, alone: bool = True) -> str:
        patterns = [*form.patterns] if alone else [*form.patterns, _NO_OTHER_TYPE]
        refused = [] if alone else [_WORDS]
        return text_rule(
            patterns, refused, self._form.close, self._form.ends, self._mark, self._rule
        )


def text_rule(
    patterns: list[str],
    refused: list[str],
    close: Close,
    ends: tuple[str, ...],
    mark: Mark,
    rule: Callable[..., str],
) -> str:
    """Return terms for text that matches all patterns and holds no end, and for the end behind it."""
    holds = "|".join(dict.fromkeys(_escaped_pattern(end) for end in (close.mark, *ends)))
    matched = " & ".join(f"/{pattern}/" for pattern in patterns or ["(?s:.)*"])
    refusing = "".join(
        f" & ~/{pattern}/" for pattern in (f"(?s:.)*(?:{holds})(?s:.)*", *refused)
    )
    if mark(close.mark).startswith('"'):
        return rule(f"({matched}{refusing}) {grammars.quoted(close.text)}", terminal=True)
    before = grammars.quoted(close.before) if close.before else ""
    text = rule(f"({matched}{refusing}) {before}", terminal=True)
    behind = grammars.quoted(close.after) if close.after else ""
    return f"{text} {mark(close.mark)} {behind}"


def _escaped_pattern(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_｜]", lambda found: rf"\x{{{ord(found[0]):x}}}", text)


def _term(text: str) -> str:
    return grammars.quoted(text) if text else ""


def _only(places: Branch) -> Place | None:
    """Return the one schema of a value; None if it has several, or other than an object."""
    if len(places) == 1 and isinstance(places[0].schema, dict):
        return places[0]
    return None
