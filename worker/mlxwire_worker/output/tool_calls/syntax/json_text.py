"""Reads JSON while it arrives: its text is passed on in fragments, and checked as it goes by.

An error is found at the character that is wrong, so a mark that stands behind broken JSON is not
taken for a part of it. Raw control characters within strings, which models write, become escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any

import msgspec

from ..source import SPACE, CutOff, NotACall, Source

Fragments = Generator[str | None, None, None]
"""The text of a value in the order in which it arrives; None if more text is needed."""

_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_BLANK = re.compile(rf"[{SPACE}]+")
_ATOM = re.compile(r"[-+.0-9A-Za-z]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_HEX = re.compile(r"[0-9a-fA-F]")
_WORDS = ("true", "false", "null")
_CLOSING = {"{": "}", "[": "]"}
_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


class JsonScanner:
    """Follows one JSON value. ``used`` is how much of the newest text belongs to the value."""

    def __init__(self) -> None:
        self.complete = False
        self.problem: str | None = None
        self.used = 0
        self._open: list[str] = []
        self._expected = "value"
        self._atom = ""
        self._in_string = False
        self._escape = 0
        """0 outside of an escape, 5 behind a backslash, 4 to 1 if so many hex digits are missing."""

    @property
    def within_string(self) -> bool:
        """Return True if the text so far is right, and ends in an open string."""
        return self._in_string and self.problem is None

    def scan(self, text: str) -> str:
        """Take the next text, up to the end of the value; return it with valid escapes.

        Sets ``problem`` and stops before a character that can't stand there.
        """
        written: list[str] = []
        at = 0
        while at < len(text) and not self.complete and self.problem is None:
            if self._escape:
                at = self._scan_escape(text, at, written)
            elif self._in_string:
                at = self._scan_string(text, at, written)
            else:
                at = self._scan_structure(text, at, written)
        self.used = at
        return "".join(written)

    def _scan_escape(self, text: str, at: int, written: list[str]) -> int:
        char = text[at]
        if self._escape == 5:
            if char not in '"\\/bfnrtu':
                self.problem = f"the string has the escape `\\{char}`, which JSON does not know"
                return at
            self._escape = 4 if char == "u" else 0
        elif _HEX.match(char):
            self._escape -= 1
        else:
            self.problem = f"`{char}` stands in the string where a hexadecimal digit must"
            return at
        written.append(char)
        return at + 1

    def _scan_string(self, text: str, at: int, written: list[str]) -> int:
        if plain := _PLAIN.match(text, at):
            written.append(plain[0])
            return plain.end()
        char = text[at]
        if char == "\\":
            self._escape = 5
        elif char == '"':
            self._in_string = False
            self._end_value()
        else:
            char = _NAMED_ESCAPES.get(char) or f"\\u{ord(char):04x}"
        written.append(char)
        return at + 1

    def _scan_structure(self, text: str, at: int, written: list[str]) -> int:
        if atom := _ATOM.match(text, at):
            if self._expected not in ("value", "value or `]`"):
                return self._refuse(text[at], at)
            self._atom += atom[0]
            written.append(atom[0])
            return atom.end()
        if self._atom:
            if self._atom not in _WORDS and not _NUMBER.fullmatch(self._atom):
                self.problem = f"`{self._atom[:64]}` is no JSON value"
                return at
            self._atom = ""
            self._end_value()
            return at  # the character belongs to what comes next
        if blank := _BLANK.match(text, at):
            written.append(blank[0])
            return blank.end()
        if not self._step(text[at]):
            return self._refuse(text[at], at)
        written.append(text[at])
        return at + 1

    def _step(self, char: str) -> bool:
        """Take a character of the structure; return False if it can't stand here."""
        expected = self._expected
        if char == '"' and expected not in ("`:`", "`,`"):
            self._in_string = True
        elif char in "{[" and expected in ("value", "value or `]`"):
            self._open.append(char)
            self._expected = "name or `}`" if char == "{" else "value or `]`"
        elif char == ":" and expected == "`:`":
            self._expected = "value"
        elif char == "," and expected == "`,`":
            self._expected = "name" if self._open[-1] == "{" else "value"
        elif (
            self._open
            and char == _CLOSING[self._open[-1]]
            and expected in ("`,`", "name or `}`", "value or `]`")
        ):
            self._open.pop()
            self._expected = "value"
            self._end_value()
        else:
            return False
        return True

    def _end_value(self) -> None:
        """Note that a value, or a name in an object, is complete."""
        if self._expected in ("name", "name or `}`"):
            self._expected = "`:`"
        elif self._open:
            self._expected = "`,`"
        else:
            self.complete = True

    def _refuse(self, char: str, at: int) -> int:
        self.problem = f"`{char}` stands in the JSON where a {self._expected} must"
        return at


def value_fragments(source: Source) -> Fragments:
    """Take the JSON value that comes next, and yield its text. Raises: NotACall, CutOff."""
    scanner = JsonScanner()
    while not scanner.complete:
        if not (yield from source.peek(1)):
            raise CutOff("the text ended within a call")
        fragment = scanner.scan(source.rest)
        yield from source.take(scanner.used)
        if fragment:
            yield fragment
        if scanner.problem is not None:
            raise NotACall(scanner.problem)


def written(value: object) -> str:
    """Return a value as JSON.

    Raises: ValueError, TypeError or RecursionError for a value that JSON can't hold, such as NaN or
    half a surrogate pair.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # fails for half a surrogate pair
    return text


def object_fragments(source: Source) -> Fragments:
    """Take the JSON object that comes next, and yield its text. Raises: NotACall, CutOff."""
    if (first := (yield from source.peek(1))) and first != "{":
        raise NotACall(f"`{first}` stands where the arguments' `{{` must")
    whole: list[str] = []
    for fragment in value_fragments(source):
        if fragment is not None:
            whole.append(fragment)
        yield fragment
    decode("".join(whole))


def whole_value(source: Source) -> Generator[None, None, Any]:
    """Take the JSON value that comes next, and return it decoded. Raises: NotACall, CutOff."""
    whole: list[str] = []
    for fragment in value_fragments(source):
        if fragment is None:
            yield None
        else:
            whole.append(fragment)
    return decode("".join(whole))


def whole_string(source: Source) -> Generator[None, None, str]:
    """Take the JSON string that comes next, and return it decoded. Raises: NotACall, CutOff."""
    first = yield from source.peek(1)
    if first not in ('"', ""):
        raise NotACall(f'`{first}` stands where a `"` must')
    string: str = yield from whole_value(source)
    return string


def object_within(value: Any) -> str:
    """Return the arguments that a call gives as something else than an object, as an object.

    None and blank text stand for `{}`, and text is read as JSON. Raises: NotACall.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return "{}"
    if not isinstance(value, str):
        raise NotACall("the call's arguments are no JSON object")
    scanner = JsonScanner()
    text = scanner.scan(value.strip())
    if not (text.startswith("{") and scanner.complete and scanner.used == len(value.strip())):
        raise NotACall("the call's arguments are a string that holds no JSON object")
    decode(text)
    return text


def decode(text: str) -> Any:
    """Return a JSON text's value. Raises: NotACall, for text that clients could not decode either."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as problem:
        raise NotACall(f"the call's JSON can't be decoded: {problem}") from None
