"""Regular expressions of the formats that llguidance reads too loosely, or does not know.

They match a little less than the format allows: no internationalized label, no quoted name of a
mailbox, no domain of more than 63 characters in an address, and no user or address in the authority
of a reference.
"""

from __future__ import annotations

from typing import NamedTuple

from ....output.tool_calls.schemas.texts import CALENDAR_FORMATS


class ExactFormat(NamedTuple):
    """Expressions that all match each text of a format, and the most characters that it has."""

    patterns: tuple[str, ...]
    most: int | None = None


_IN = "[a-zA-Z0-9-]"
_END = "[a-zA-Z0-9]"
_LABEL = (
    f"{_END}(?:{_IN}?{_END}|{_IN}{_IN}{_END}|{_IN}(?:{_END}{_IN}|-{_END}){_IN}{{0,58}}{_END})?"
)
"""At most 63 characters, of which the third and the fourth are not both hyphens."""
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_NAME = f"{_END}(?:-?{_END})*"
"""A label without neighbouring hyphens: the automaton of `_LABEL` beside another pattern is too large."""
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_POINTER = "(?:/(?:[^~/]|~[01])*)*"
_CHARACTER = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_AUTHORITY = "//(?:[a-zA-Z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?::[0-9]{0,5})?"
_PATH = f"(?:/{_CHARACTER}*)*"
_AFTER = rf"(?:\?(?:{_CHARACTER}|[/?])*)?(?:#(?:{_CHARACTER}|[/?])*)?"
_ROOTED = f"(?:{_AUTHORITY}{_PATH}|/(?:{_CHARACTER}+{_PATH})?)"
_URI = f"[a-zA-Z][a-zA-Z0-9+.-]*:(?:{_ROOTED}|{_CHARACTER}+{_PATH})?{_AFTER}"
_FIRST = "(?:[a-zA-Z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+"
"""The first part of a relative reference, which has no colon."""
_REFERENCE = f"(?:{_URI}|(?:{_ROOTED}|{_FIRST}{_PATH})?{_AFTER})"

EXACT_FORMATS = {
    **{name: ExactFormat((f"^{text}$",)) for name, text in CALENDAR_FORMATS.items()},
    "hostname": ExactFormat((f"^{_HOST}$",), most=253),
    "email": ExactFormat(
        (rf"^{_ATOM}(?:\.{_ATOM})*@{_NAME}(?:\.{_NAME})*$", "^[^@]{1,64}@[^@]{1,63}$")
    ),
    "iri": ExactFormat((f"^{_URI}$",)),
    "uri-reference": ExactFormat((f"^{_REFERENCE}$",)),
    "iri-reference": ExactFormat((f"^{_REFERENCE}$",)),
    "json-pointer": ExactFormat((f"^{_POINTER}$",)),
    "relative-json-pointer": ExactFormat((f"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",)),
}
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
"""Base 64 of RFC 4648, padded, with no bits set past the last byte."""
