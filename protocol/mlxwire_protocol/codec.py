"""Lines to typed messages and back (SPEC §1, §2): orjson for bytes, msgspec for meaning.

Every way in which a line can be wrong becomes one WireError here, with the field it is about.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson

from .errors import WireError, invalid_params
from .messages import COMMANDS, MAX_ID_BYTES, Command

_FIELD_PATH = re.compile(r" - at `\$\.?(.*)`$")
_FIELD_NAME = re.compile(r"(?:unknown|required) field `(.*)`")
_LEADING_ID = re.compile(
    rb'\s*\{(?:[^"]|"(?!id")[^"\\]*")*?"id"\s*:\s*"((?:[^"\\\x00-\x1f]|\\["\\/]){1,128})"'
)


def parse_object(line: bytes) -> dict[str, Any]:
    """One line as a JSON object.

    Raises: WireError ``parse_error`` if it is not JSON, ``invalid_request`` if no object.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise WireError(
            "parse_error", f"the line is not JSON: {error}; send one UTF-8 JSON object a line"
        ) from None
    if not isinstance(value, dict):
        raise WireError(
            "invalid_request", f"a line must be a JSON object, this one is {_json_kind(value)}"
        )
    return value


def recover_id(prefix: bytes) -> str | None:
    """The id of a line that can't be read as a whole, where its beginning still shows it."""
    match = _LEADING_ID.match(prefix[:512])
    if match is None:
        return None
    try:
        value = orjson.loads(b'"' + match[1] + b'"')
    except orjson.JSONDecodeError:
        return None
    return value if valid_id(value) else None


def valid_id(value: object) -> bool:
    """Whether a value may stand as ``id``: a string of 1 to 128 bytes of UTF-8."""
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= MAX_ID_BYTES


def convert_command(fields: dict[str, Any]) -> Command:
    """A parsed object with a valid ``id`` as its typed request.

    Raises: WireError ``unknown_command``, or ``invalid_params`` with ``data.field``.
    """
    name = fields["cmd"]
    kind = COMMANDS.get(name)
    if kind is None:
        raise WireError(
            "unknown_command",
            f"there is no command {name[:64]!r}; known are {', '.join(COMMANDS)}",
        )
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _params_error(name, str(error)) from None


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """A message as one line, its 0x0A included. NaN becomes null, a lone surrogate U+FFFD."""
    fields = message if isinstance(message, dict) else msgspec.to_builtins(message)
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return orjson.dumps(_sanitized(fields), option=orjson.OPT_APPEND_NEWLINE)


def well_formed(text: str) -> bool:
    """Whether a string has no lone surrogate, and so may go on the wire."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _params_error(command: str, message: str) -> WireError:
    named = _FIELD_NAME.search(message)
    path = _FIELD_PATH.search(message)
    parent = path[1] if path else ""
    field = ".".join(filter(None, (parent, named[1]))) if named else parent
    field = field or "cmd"
    if named and "unknown" in message:
        remedy = f"`{command}` has no field `{field}`; leave it out"
    elif named:
        remedy = f"`{command}` needs the field `{field}`"
    else:
        remedy = (
            f"`{field}` of `{command}`: {message[: path.start() if path else None].lower()}"
        )
    return invalid_params(field, remedy)


def _sanitized(value: Any) -> Any:
    """A copy with every lone surrogate mapped to U+FFFD; everything else as it was."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_sanitized(key): _sanitized(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sanitized(item) for item in value]
    return value


def _json_kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "an array"}.get(type(value), "a number")
