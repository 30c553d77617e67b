"""Compiles a JSON Schema, or finds the keyword and the place that llguidance can't enforce.

llguidance's errors name a keyword at best and never its place. A place is found by compiling the
schema without some of its keywords: the fewest whose lack changes the error end with the culprit.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from mlxwire_protocol import WireError, invalid_params

from ....output.tool_calls.schemas.branches import Path
from ..compiling import json_grammar, matcher_of, short
from .circles import CIRCULAR, MERGED, unrolled, with_lone_references
from .endless import endless_reference, without_endless
from .expansion import expanded
from .schemas import (
    REFERENCED,
    keywords,
    loose_keyword,
    pointer,
    tightened,
    with_draft,
    without,
    without_hard_numbers,
)

MOST_SCHEMA_BYTES = 1 << 18
MOST_DEPTH = 64
_MOST_ATTEMPTS = 10
_SINGLE_ATTEMPTS = 4
"""Attempts that each leave one keyword to the validation; later ones leave all of its name."""

SCHEMA = "response_format.json_schema.schema"
_BASE = re.compile(r"[a-z][a-z0-9+.-]*://[^\s#]*")
"""The document that an error places a schema in; it changes with `$schema` and `$id`."""
_UNSATISFIABLE = "Unsatisfiable schema"
_LIMITS_REACHED = re.compile("too large|too big|fuel|lexer states|exceeded")
_KEYS = re.compile(r"Unimplemented keys: (\[.*\])", re.DOTALL)
_NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Unknown format: ", ("format",)),
    ("Unknown specification: ", ("$schema",)),
    ("not present in a registry", ("$ref",)),
    (CIRCULAR, ("$ref",)),
    ("Reference segment", ("$ref",)),
    ("regex parse error", ("pattern",)),
    ("patternProperty", ("patternProperties",)),
    ("min/maxProperties", ("minProperties", "maxProperties")),
    ("Regex is empty", ("pattern", "format")),
)
"""Words of llguidance's errors, and the keywords that each may be about."""


class SchemaCompiler:
    """Compiles a schema for a vocabulary. ``field`` is that of the request which holds the schema."""

    def __init__(
        self,
        schema: Any,
        tokens: LLTokenizer,
        *,
        strict: bool,
        whitespace: str = "compact",
        field: str = SCHEMA,
    ) -> None:
        self._schema = with_lone_references(with_draft(schema))
        self._strict = strict
        self._whitespace = whitespace
        self._tokens = tokens
        self._field = field

    def compile(self) -> tuple[LLMatcher, Any]:
        """Return the matcher of the schema, and the schema that it enforces.

        Without ``strict`` that is the part of the schema which can be enforced.
        Raises: WireError ``invalid_params`` with ``field``, ``keyword`` and ``path``.
        """
        schema = self._schema
        if len(json.dumps(schema)) > MOST_SCHEMA_BYTES or _depth(schema) > MOST_DEPTH:
            raise invalid_params(
                self._field,
                f"the schema is too large; give one of at most {MOST_SCHEMA_BYTES >> 10} KiB "
                f"and {MOST_DEPTH} levels",
            )
        if schema is False:
            raise invalid_params(
                self._field, "no text is an instance of `false`; give a schema"
            )
        if self._strict and (loose := loose_keyword(schema)):
            raise self._refusal(*loose)
        schema = self._with_an_end(schema)
        if not self._strict:
            schema = without_hard_numbers(schema)
        place: Path | None = None
        problem = ""
        for attempt in range(_MOST_ATTEMPTS):
            matcher = self._matcher(schema)
            if not matcher.is_error():
                return matcher, schema
            problem = matcher.get_error()
            place = self._place(schema, problem)
            if self._strict or place is None or not _can_be_left_out(place, problem):
                break
            places = [place]
            if attempt >= _SINGLE_ATTEMPTS:
                places = [path for path, _ in keywords(schema) if path[-1] == place[-1]]
            schema = without(schema, places)
        raise self._refusal(place, problem)

    def _with_an_end(self, schema: Any) -> Any:
        """Return a schema whose texts all can end. Raises: WireError if it has none."""
        ending = without_endless(schema)
        if ending is not False:
            return ending
        if (place := endless_reference(schema)) is not None:
            raise self._refusal(place, f"{_UNSATISFIABLE}: it requires itself without an end")
        return schema

    def _matcher(self, schema: Any) -> LLMatcher:
        matcher = self._matcher_of_known(schema)
        problem = matcher.get_error() if matcher.is_error() else None
        if problem is None:
            return matcher
        other = expanded(schema)
        if other is not None:
            of_other = self._matcher_of_known(other)
            if not of_other.is_error():
                return of_other
            problem += of_other.get_error()
        if any(words in problem for words in MERGED):
            for part in (other, schema):
                if (whole := unrolled(part)) is not None:
                    of_whole = self._matcher_of_known(whole)
                    if not of_whole.is_error():
                        return of_whole
        return matcher

    def _matcher_of_known(self, schema: Any) -> LLMatcher:
        """Compile a schema of keywords that llguidance knows; the matcher is in error at others."""
        grammar = json_grammar(tightened(schema), self._whitespace, strict=self._strict)
        return matcher_of(grammar, self._tokens)

    def _place(self, schema: Any, problem: str) -> Path | None:
        """Return the path of the keyword that a problem is about."""
        if _LIMITS_REACHED.search(problem) and not _KEYS.search(problem):
            return None  # each attempt could take as long as the first
        paths = [path for path, _ in keywords(schema) if path[-1] not in REFERENCED]
        for names in dict.fromkeys(_keywords(problem)):
            if place := self._culprit(schema, problem, [p for p in paths if p[-1] in names]):
                return place
        return self._culprit(schema, problem, paths)

    def _culprit(self, schema: Any, problem: str, paths: list[Path]) -> Path | None:
        """Return the first path up to which the keywords must go for the problem to change."""

        def changes(count: int) -> bool:
            return self._changes(without(schema, paths[:count]), problem)

        if not paths or not changes(len(paths)):
            return None
        return paths[bisect_left(range(1, len(paths)), True, key=changes)]

    def _changes(self, schema: Any, problem: str) -> bool:
        matcher = self._matcher(schema)
        return not matcher.is_error() or _BASE.sub("", matcher.get_error()) != _BASE.sub(
            "", problem
        )

    def _refusal(self, place: Path | None, problem: str) -> WireError:
        if place is None:
            told = f"the schema can't be compiled: {short(problem)}; correct it"
            return invalid_params(self._field, told)
        keyword = str(place[-1])
        other = ", or set `strict` to false"
        if not self._strict or not _can_be_left_out(place, problem):
            other = ""
        return invalid_params(
            self._field,
            f"the schema's `{keyword}` at {pointer(place)} can't be enforced: {short(problem)}; "
            f"remove it{other}",
            keyword=keyword,
            path=pointer(place),
        )


def _can_be_left_out(place: Path, problem: str) -> bool:
    if place[-1] == "$ref" and CIRCULAR in problem:
        return True
    return place[-1] not in ("$ref", "$schema") and _UNSATISFIABLE not in problem


def _keywords(problem: str) -> Iterator[tuple[str, ...]]:
    """Yield the keywords that an error of llguidance is about; those that may both be, together."""
    if found := _KEYS.search(problem):
        yield from ((keyword,) for keyword in json.loads(found[1]))
    for words, names in _NAMED:
        if words in problem:
            yield names
    yield from ((word,) for word in re.findall(r"\b([a-z$][A-Za-z]+)\b", problem))


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        part, level = waiting.pop()
        if isinstance(part, dict | list):
            deepest = max(deepest, level)
            parts = part.values() if isinstance(part, dict) else part
            waiting += [(each, level + 1) for each in parts]
    return deepest
