"""Reads what a schema says of a text: lengths, patterns, formats and choices."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .branches import Branch, Path, Place, Unenforceable, branches

_NAME = r"[a-z0-9](?:[a-z0-9\-]{0,20}[a-z0-9])?"
_HOST = rf"{_NAME}(?:\.{_NAME}){{0,4}}"
_HEX = "[0-9a-f]"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PATH = r"[A-Za-z0-9._~!$&'()*+,;=:@\-]*"
_URI = rf"[a-z][a-z0-9+]{{0,20}}:\/\/{_HOST}(?:\/{_PATH})*(?:\?{_PATH})?(?:#{_PATH})?"
_DAY = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_MAIL = rf"[A-Za-z0-9_+\-]{{1,20}}(?:\.[A-Za-z0-9_+\-]{{1,20}}){{0,2}}@{_HOST}"
CALENDAR_FORMATS = {"date": _DAY, "time": _TIME, "date-time": f"{_DAY}T{_TIME}"}
"""Expressions of formats that llguidance reads too loosely: it takes dates that no calendar has."""
_FORMATS = {
    **CALENDAR_FORMATS,
    "duration": "P(?:[0-9]{1,4}W|[0-9]{1,4}D(?:T[0-9]{1,4}H)?|T[0-9]{1,4}[HMS])",
    "email": _MAIL,
    "idn-email": _MAIL,
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "ipv6": f"{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{7}}",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    **dict.fromkeys(("uri", "iri", "uri-reference", "iri-reference", "uri-template"), _URI),
    "json-pointer": r"(?:\/[A-Za-z0-9_.\-]*)*",
    "relative-json-pointer": r"[0-9](?:\/[A-Za-z0-9_.\-]*)*",
    "regex": "[A-Za-z0-9_ ]*",
}
"""Expressions of formats; each text that they match has the format, and most such texts match."""

_LOOKS = re.compile(r"\(\?(?:[=!]|<[=!])|\\(?:[1-9]|[bBkK])")
_STEP = re.compile(r"\\.|\[\^?\]?(?:\\.|&&\[[^\]]*\]|[^\\\]])*\]|.", re.DOTALL)
"""An escape, a whole class, or any other character."""
_ESCAPE = re.compile(r"\\.|[/\n]", re.DOTALL)
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\r\n\f\v"}
_AT_MOST = {**_CLASSES, "s": r"\s\x{feff}"}
"""Characters in a class that ECMA-262 and Rust's crate `regex` see differently, at least and at most."""


class TextForm(NamedTuple):
    """One kind of texts: expressions that all must match whole, or ``choices`` of whole texts."""

    patterns: tuple[str, ...]
    choices: tuple[tuple[str, Path], ...] | None = None


def text_forms(place: Place, root: dict[str, Any]) -> list[TextForm]:
    """Return the kinds of texts that fit a schema. Raises: Unenforceable."""
    return [_form(branch) for branch in branches(place, root, "string")]


def choices_of(schema: dict[str, Any]) -> tuple[str, list[Any]] | None:
    """Return the keyword that lists all values of a schema, and those values."""
    if "const" in schema:
        return "const", [schema["const"]]
    values = schema.get("enum")
    return ("enum", values) if isinstance(values, list) else None


def _form(branch: Branch) -> TextForm:
    patterns: list[str] = []
    choices: list[tuple[str, Path]] | None = None
    least, most = 0, -1
    for place in branch:
        schema = place.schema
        if found := choices_of(schema):
            path = (*place.path, found[0])
            texts = [text for text in found[1] if isinstance(text, str)]
            kept = None if choices is None else {text for text, _ in choices}
            choices = [(text, path) for text in texts if kept is None or text in kept]
        least = max(least, _length(schema, "minLength", 0))
        upper = _length(schema, "maxLength", -1)
        most = upper if most < 0 else min(most, upper) if upper >= 0 else most
        if isinstance(pattern := schema.get("pattern"), str):
            patterns.append(as_rust(pattern, (*place.path, "pattern")))
        if (name := schema.get("format")) in _FORMATS:
            patterns.append(_FORMATS[name])
    if choices is not None and (least or most >= 0 or patterns):
        # As an expression, the choices hold together with the other expressions.
        patterns.append("|".join(_escaped(text) for text, _ in choices) or "(?s:.){0}")
        choices = None
    if least or most >= 0:
        patterns.insert(0, f"(?s:.){{{least},{most if most >= 0 else ''}}}")
    return TextForm(tuple(patterns), None if choices is None else tuple(choices))


def _escaped(text: str) -> str:
    return "".join(rf"\x{{{ord(char):x}}}" for char in text)


def _length(schema: dict[str, Any], keyword: str, default: int) -> int:
    value = schema.get(keyword)
    return int(value) if isinstance(value, int | float) and value >= 0 else default


def as_rust(pattern: str, path: Path) -> str:
    """Return an expression of ECMA-262, which may match anywhere, as one that matches whole texts.

    It is in the syntax of Rust's crate `regex` without anchors. Raises: Unenforceable.
    """
    if _LOOKS.search(pattern):
        raise Unenforceable(
            path, f"`{pattern[:64]}` looks around or back, which can't be enforced"
        )
    return "|".join(_whole(part, path) for part in _parts(pattern))


def _parts(pattern: str) -> list[list[str]]:
    """Divide an expression at each `|` outside of groups, into steps whose classes are plain."""
    parts: list[list[str]] = [[]]
    depth = 0
    for step in _STEP.findall(pattern):
        if step == "|" and not depth:
            parts.append([])
        else:
            depth += (step == "(") - (step == ")")
            parts[-1].append(_plain(step))
    return parts


def _plain(step: str) -> str:
    in_class, negated = step[0] == "[", step.startswith("[^")

    def written(found: re.Match[str]) -> str:
        name = found[0][1:]
        if name.lower() not in _CLASSES:
            return {"/": r"\/", "\n": r"\n"}.get(found[0], found[0])
        excludes = name.isupper()
        inner = (_AT_MOST if negated != excludes else _CLASSES)[name.lower()]
        return f"[^{inner}]" if excludes else inner if in_class else f"[{inner}]"

    return _ESCAPE.sub(written, step)


def _whole(steps: list[str], path: Path) -> str:
    begins, ends = steps[:1] == ["^"], steps[-1:] == ["$"]
    inner = steps[begins : len(steps) - ends]
    if "^" in inner or "$" in inner:
        raise Unenforceable(path, "an anchor within a pattern can't be enforced")
    any_text = "(?s:.)*"
    return f"{'' if begins else any_text}(?:{''.join(inner)}){'' if ends else any_text}"
