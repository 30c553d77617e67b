"""Parses calls whose parameters stand between tags, as text without quotes."""

from __future__ import annotations

import json
from collections.abc import Generator

from ...pieces import CallArguments, CallPiece
from ..family import Tool
from ..schemas.members import Parameters
from ..source import Source
from .json_text import JsonScanner
from .values import as_json, escaped

Parameter = Generator[CallPiece | None, None, None]

_TEXT = frozenset({"string"})


class Arguments:
    """Writes the parameters of one call, as they are read, as the members of a JSON object."""

    def __init__(self, tool: Tool) -> None:
        self._parameters = Parameters(tool.parameters)
        self._written = False

    def types(self, key: str) -> frozenset[str]:
        """Return the types that the schema gives a parameter; none if it does not tell."""
        return self._parameters.types(key)

    def read(
        self,
        source: Source,
        key: str,
        *ends: str,
        types: frozenset[str] | None = None,
        lines: bool = False,
    ) -> Parameter:
        """Take a parameter's text up to the first of the ``ends``, which is not taken.

        Text is passed on as it arrives, other types when they are complete. ``types`` are those of the
        schema unless they are given. With ``lines``, a newline at each end belongs to the form.
        Raises: CutOff.
        """
        types = self.types(key) if types is None else types
        yield CallArguments(self._key(key))
        if types == _TEXT:
            yield CallArguments('"')
        if types == _TEXT:
            for fragment in _value(source, ends, lines=lines):
                yield None if fragment is None else CallArguments(escaped(fragment))
            yield CallArguments('"')
            return
        raw = ""
        while True:
            for fragment in source.pieces_until(*ends):
                if fragment is None:
                    yield None
                else:
                    raw += fragment
            if not _within_string(raw):
                break
            raw += yield from source.expect(*ends)
        if lines:
            raw = raw.removeprefix("\n").removesuffix("\n")
        yield CallArguments(as_json(raw, types))

    def _key(self, key: str) -> str:
        comma = ", " if self._written else "{"
        self._written = True
        return f"{comma}{json.dumps(key, ensure_ascii=False)}: "

    def end(self) -> CallArguments:
        """Return the end of the object."""
        return CallArguments("}" if self._written else "{}")


def _within_string(raw: str) -> bool:
    """Return True if a list or an object in JSON has an open string at its end, which may hold marks."""
    text = raw.lstrip()
    if text[:1] not in ("[", "{"):
        return False
    scanner = JsonScanner()
    scanner.scan(text)
    return scanner.within_string


def _value(
    source: Source, ends: tuple[str, ...], *, lines: bool
) -> Generator[str | None, None, None]:
    """Yield the text of a value without the newlines that belong to the form."""
    if lines:
        # An end that begins with a newline may stand at once, so the newline is not taken before it.
        if (yield from source.follows(*ends)) is not None:
            return
        yield from source.try_take("\n")
    held = ""
    for fragment in source.pieces_until(*ends):
        if fragment is None:
            yield None
            continue
        text = held + fragment
        held = "\n" if lines and text.endswith("\n") else ""
        if text := text[: len(text) - len(held)]:
            yield text
    if held and (yield from source.peek(1)) == "\n":
        yield held
