"""Writes grammars of arguments in Gemma's notation, which has bare keys and marks around strings."""

from __future__ import annotations

import json
import re
from typing import Any

from ..family import Mark, Tool
from ..schemas.branches import Branch, Place, Unenforceable, branches
from ..schemas.members import Member, Members, Others, combined, document, members_of
from ..schemas.texts import TextForm, as_rust, choices_of, text_forms
from ..schemas.types import TYPES, declared_types, types_of
from . import grammars
from .counting import Counting
from .tag_grammar import Close, text_rule

_KEY = "[A-Za-z_][A-Za-z0-9_]{0,63}"
_BARE_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_SCALARS = ("null", "boolean", "integer", "number")
_LISTS = ("uniqueItems", "contains", "unevaluatedItems")
"""Keywords of lists that no sequence of values can carry."""


class GemmaRules:
    """The rules for the arguments of one tool; ``terms`` stand for them.

    ``quote`` is the mark on both sides of a string.
    """

    def __init__(self, tool: Tool, at: int, quote: str, mark: Mark) -> None:
        self._strict = tool.strict
        self._root = tool.parameters
        self._quote = quote
        self._mark = mark
        self._name = f"value_{at}"
        self._known: dict[str, str] = {}
        self.rules: list[str] = []
        self.terms = self._object(Place(tool.parameters, ()))

    def _rule(self, body: str, *, terminal: bool = False) -> str:
        """Add a rule, and return its name."""
        name = self._reserve()
        name = name.upper() if terminal else name
        self.rules.append(f"{name}: {body}")
        return name

    def _reserve(self) -> str:
        self._known[f"#{len(self._known)}"] = ""
        return f"{self._name}_{len(self._known)}"

    def _value(self, places: Branch) -> str:
        """Return a rule for the values that fit all schemas; equal schemas have one rule."""
        schema = combined(places)
        key = json.dumps(schema)
        if key not in self._known:
            self._known[key] = name = self._reserve()
            place = (
                places[0]
                if len(places) == 1
                else Place(schema, places[0].path if places else ())
            )
            self.rules.append(f"{name}: {' | '.join(self._ways(place))}")
        return self._known[key]

    def _ways(self, place: Place) -> list[str]:
        """Return the terms for the values that fit a schema, of each type."""
        if isinstance(place.schema, dict) and (found := choices_of(place.schema)):
            keyword, values = found
            path = (*place.path, keyword)
            declared = types_of(place.schema, self._root)
            fitting = [value for value in values if types_of({"const": value}, {}) & declared]
            if not fitting:
                raise Unenforceable(path, "none of the values has the type")
            return [self._literal(value, path) for value in fitting]
        types = declared_types(place.schema, self._root) or frozenset(TYPES)
        ways: list[str] = []
        if scalars := [kind for kind in _SCALARS if kind in types]:
            only: dict[str, Any] = {"type": scalars}
            schema = only if place.schema is True else {"allOf": [place.schema, only]}
            described = grammars.value_schema(document(schema, self._root), strict=self._strict)
            if branches(place, self._root, scalars[-1]) or len(types) == 1:
                ways.append(self._rule("%json " + described))
        if "string" in types:
            for form in text_forms(place, self._root):
                ways += self._texts(form)
        if "array" in types:
            ways += [self._list(branch) for branch in branches(place, self._root, "array")]
        if "object" in types and (len(types) == 1 or branches(place, self._root, "object")):
            ways.append(self._object(place))
        if not ways:
            raise Unenforceable(place.path, "no value fits the schema")
        return ways

    def _texts(self, form: TextForm) -> list[str]:
        if form.choices is not None:
            return [self._literal(text, path) for text, path in form.choices]
        close = Close("", self._quote, "")
        text = text_rule([*form.patterns], [], close, (self._quote,), self._mark, self._rule)
        return [f"{self._mark(self._quote)} {text}"]

    def _literal(self, value: Any, path: Any) -> str:
        if isinstance(value, str):
            if self._quote in value:
                raise Unenforceable(
                    path, f"a text with {self._quote!r} ends the string in this model's form"
                )
            text = grammars.quoted(value) if value else ""
            return f"{self._mark(self._quote)} {text} {self._mark(self._quote)}"
        if isinstance(value, list):
            each = ' "," '.join(self._literal(one, path) for one in value)
            return f'"[" {each} "]"'
        if isinstance(value, dict):
            each = ' "," '.join(
                f"{self._key(name, path)} {self._literal(one, path)}"
                for name, one in value.items()
            )
            return f'"{{" {each} "}}"'
        return grammars.quoted(json.dumps(value))

    def _list(self, branch: Branch) -> str:
        first: list[Place] = []
        rest: Branch = ()
        least, most = 0, -1
        for place in branch:
            schema = place.schema
            for keyword in _LISTS:
                if schema.get(keyword) not in (None, False):
                    raise Unenforceable(
                        (*place.path, keyword),
                        f"`{keyword}` can't be enforced in this model's form",
                    )
            tuple_key = "prefixItems" if "prefixItems" in schema else "items"
            if isinstance(given := schema.get(tuple_key), list):
                first = [place.below(tuple_key, at) for at in range(len(given))]
            more = "additionalItems" if tuple_key == "items" and first else "items"
            if more in schema and not isinstance(schema[more], list):
                rest += (place.below(more),)
            least = max(least, int(schema.get("minItems", 0)))
            upper = int(schema.get("maxItems", -1))
            most = upper if most < 0 else min(most, upper) if upper >= 0 else most
        if any(place.schema is False for place in rest):
            most, rest = len(first) if most < 0 else min(most, len(first)), ()
        return self._sequence(first, rest, least, most, branch)

    def _sequence(
        self, first: list[Place], rest: Branch, least: int, most: int, branch: Branch
    ) -> str:
        if 0 <= most < least:
            raise Unenforceable(branch[0].path if branch else (), "no list has so many items")
        items = [self._value((place,)) for place in first[: most if most >= 0 else None]]
        more = None
        if most < 0 or most > len(items):
            item, count = self._value(rest), len(items)
            comma = "" if count else f"{item} "
            low, high = max(0, least - count - (not count)), most - count - (not count)
            times = f"{{{low},{high if most >= 0 else ''}}}"
            more = f'{comma}("," {item}){times}' if high else comma
            if not count and not least:
                more = f"({more})?"
        for at in reversed(range(len(items))):
            comma = '"," ' if at else ""
            more = f"{comma}{items[at]} {more or ''}"
            if at >= least:
                more = f"({more})?"
        return f'"[" {more or ""} "]"'

    def _object(self, place: Place) -> str:
        kinds = [self._kind(members) for members in members_of(place, self._root)]
        return self._rule(" | ".join(kinds))

    def _kind(self, members: Members) -> str:
        named = [(self._member(member), member.required) for member in members.named]
        others = [self._other(each, members) for each in members.others]
        other = self._rule(" | ".join(others)) if others else None
        listed = Counting(named, other, members, self._rule, comma='","').terms()
        return f'"{{" {listed} "}}"'

    def _member(self, member: Member) -> str:
        return self._rule(f"{self._key(member.name, member.path)} {self._value(member.places)}")

    def _key(self, name: str, path: Any) -> str:
        """Return the terms of a key and its colon; names that can't be bare stand in quotes."""
        if len(name) > 250:
            raise Unenforceable(path, "a name of more than 250 characters can't be read back")
        bare = _BARE_KEY.fullmatch(name) is not None
        return grammars.quoted(
            name + ":" if bare else json.dumps(name, ensure_ascii=False) + ":"
        )

    def _other(self, others: Others, members: Members) -> str:
        patterns = [each.pattern for each in members.others if each.pattern is not None]
        refused = [re.escape(member.name) for member in members.named]
        key = f"/{_KEY}/"
        if others.pattern is not None:
            key += f" & /{as_rust(str(others.pattern.schema), others.pattern.path)}/"
        else:
            refused += [as_rust(str(each.schema), each.path) for each in patterns]
        if refused:
            key += f" & ~/{'|'.join(refused)}/"
        return self._rule(f'{self._rule(key, terminal=True)} ":" {self._value(others.places)}')
