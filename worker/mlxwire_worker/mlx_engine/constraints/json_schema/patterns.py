"""Rewrites the regular expressions of JSON Schemas, which are of ECMA-262, for llguidance.

llguidance reads them in the syntax of Rust's crate `regex`. A rewritten expression matches the same
texts except those with U+0000, which no answer can hold.
"""

from __future__ import annotations

import re

_PROPERTY = r"\\[pP](?:\{[^}]*\}|.)"
_PART = re.compile(
    rf"(?P<set>{_PROPERTY})|\\.|\[(?P<not>\^?)(?P<first>\]?)(?P<rest>(?:\\.|[^\\\]])*)\]|(?P<any>\.)",
    re.DOTALL,
)
"""An escape, a whole class, or the point; every other character stands for itself."""
_PART_OF_CLASS = re.compile(
    rf"(?P<set>{_PROPERTY})|(?P<nul>(?:\x00|\\0|\\x00|\\u0000|\\[xu]\{{0+\}})(?=-.))"
    r"|(?P<dash>\A-)|\\.|(?P<operator>[\[&~])",
    re.DOTALL,
)
_POINT = r"[^\n\r\x{2028}\x{2029}\x00]"


def for_llguidance(pattern: str) -> str:
    """Return an expression that llguidance reads as ECMA-262 reads ``pattern``.

    U+0000 is taken out of each class: llguidance lets a class that has all control characters match an
    escaped quotation mark and an escaped backslash, even if the class excludes these two.
    """
    return _PART.sub(_rewritten, pattern)


def _rewritten(part: re.Match[str]) -> str:
    if part["set"]:
        return _without_nul(part["set"])
    if part["any"]:
        return _POINT
    if part["rest"] is None:
        return part[0]
    rest = _PART_OF_CLASS.sub(_rewritten_in_class, part["rest"])
    first = "\\]" if part["first"] else ""
    no_nul = "\\x00" if part["not"] else ""
    return f"[{part['not']}{no_nul}{first}{rest}]"


def _rewritten_in_class(part: re.Match[str]) -> str:
    if part["set"]:
        return _without_nul(part["set"])
    if part["nul"]:
        return "\\x01"
    return "\\" + part[0] if part["dash"] or part["operator"] else part[0]


def _without_nul(characters: str) -> str:
    return f"[{characters}&&[^\\x00]]"
