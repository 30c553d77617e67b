"""Regular expressions of the texts that a type's parser accepts, in the syntax of Rust's `regex`.

JSON Schema's formats allow more: 30 February, a leap second, a duration in months. No answer
should have such a text, which would then fail to parse.
"""

from __future__ import annotations

_YEAR_OF_29_FEBRUARY = (
    "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)"
)
_TIME_PARTS = (
    "(?:[0-9]{1,4}H(?:[0-9]{1,4}M)?(?:[0-9]{1,4}S)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?"
    "|[0-9]{1,6}(?:\\.[0-9]{1,6})?S)"
)

DATE = (
    "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_YEAR_OF_29_FEBRUARY}-02-29)"
)
LOCAL_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
DURATION = f"-?P(?:[0-9]{{1,5}}D(?:T{_TIME_PARTS})?|T{_TIME_PARTS})"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
INTEGER = "(?:0|-?[1-9][0-9]{0,17})"
DECIMAL = "-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?"
BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"


def moment(text: str, zone: bool | None) -> str:
    """Return the pattern of a time or date-time with an offset, without one, or (None) either."""
    return text + {True: OFFSET, False: "", None: f"{OFFSET}?"}[zone]


def whole(pattern: str) -> str:
    """Return the pattern with anchors, as JSON Schema needs it: its patterns match anywhere."""
    return f"^(?:{pattern})$"
