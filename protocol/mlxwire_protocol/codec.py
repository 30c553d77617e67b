"""Converts lines to typed messages and back (SPEC §1, §2), with orjson and msgspec.

Every fault of a line is raised here as a WireError that names the field at fault.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring as _quoted
from typing import Any

import msgspec
import orjson

from .commands import COMMANDS
from .errors import SHOWN_CHARACTERS, WireError, invalid_params
from .framing import PREFIX_BYTES
from .messages import MAX_ID_BYTES, MAX_SAFE_INTEGER, Command

ENVELOPE = ("id", "cmd")
"""The names in a request that belong to the connection, and to no command."""
_INFINITE = float("inf")
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_STRICT_INTEGER
_JSON_TOKEN = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+)')


def parse_object(line: bytes) -> dict[str, Any]:
    """Parse a line that must be a JSON object.

    Raises: WireError ``parse_error`` if it is not JSON, ``invalid_request`` if it is no object.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise WireError(
            "parse_error", f"the line is not JSON: {error}; send one UTF-8 JSON object a line"
        ) from None
    if not isinstance(value, dict):
        raise WireError(
            "invalid_request", f"the line is {_json_kind(value)}; send one JSON object a line"
        )
    return value


def recover_id(prefix: bytes) -> str | None:
    """Return the top-level ``id`` in the first bytes of a line that is cut or not JSON, or None."""
    tokens = _tokens(prefix[:PREFIX_BYTES])
    if not tokens or tokens[0] != b"{":
        return None
    depth = 0
    for position, token in enumerate(tokens[:-3]):
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        if depth == 0:
            return None
        key, colon, value = tokens[position + 1 : position + 4]
        if depth == 1 and token in (b"{", b",") and colon == b":" and _string(key) == "id":
            recovered = _string(value)
            return recovered if valid_id(recovered) else None
    return None


def _tokens(text: bytes) -> list[bytes]:
    """Split a text into JSON tokens, up to the place where it is cut off or no JSON."""
    tokens: list[bytes] = []
    position = 0
    while match := _JSON_TOKEN.match(text, position):
        tokens.append(match[1])
        position = match.end()
    return tokens


def _string(token: bytes) -> str | None:
    """Return the value of a JSON string; None for any other token."""
    if not token.startswith(b'"'):
        return None
    try:
        return str(orjson.loads(token))
    except orjson.JSONDecodeError:
        return None


def valid_id(value: object) -> bool:
    """Return True for a valid ``id``: a string of 1 to 128 bytes of UTF-8."""
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= MAX_ID_BYTES


def convert_command(fields: dict[str, Any]) -> Command:
    """Convert a parsed object, with a valid ``id`` and a ``cmd``, to its typed request.

    Raises: WireError ``unknown_command``, or ``invalid_params`` with ``data.field``.
    """
    name = fields["cmd"]
    row = COMMANDS.get(name)
    if row is None:
        raise WireError(
            "unknown_command",
            f"there is no command {name[:SHOWN_CHARACTERS]!r}; send one of {', '.join(COMMANDS)}",
        )
    try:
        return msgspec.convert(fields, row.request)
    except msgspec.ValidationError as error:
        from .refusals import params_error  # a start without a fault never needs it

        raise params_error(row.request, fields, str(error)) from None


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """Encode a message as one line, its 0x0A included.

    NaN and infinity become null, an unpaired surrogate U+FFFD, an integer beyond ±(2^53-1) that
    bound.
    """
    fields = message if isinstance(message, dict) else msgspec.to_builtins(message)
    try:
        return orjson.dumps(fields, option=_LINE)
    except TypeError:
        return orjson.dumps(_sanitized(fields), option=_LINE)


def encode_token(
    request_id: str, seq: int, text: str, token_id: int, channel: str | None = None
) -> bytes:
    """Encode one token without log-probabilities, to the same bytes as `encode`.

    orjson allocates a block of 1 KB first. If MLX computes on the CPU, that makes malloc merge the
    blocks that MLX has freed between two steps: 70 µs per token.
    """
    end = "" if channel is None else f',"channel":"{channel}"'
    line = (
        f'{{"id":{_quoted(request_id)},"type":"token","seq":{seq},'
        f'"token":{_quoted(text)},"token_id":{token_id}{end}}}\n'
    )
    try:
        return line.encode()
    except UnicodeEncodeError:  # an unpaired surrogate
        fields = {"id": request_id, "type": "token", "seq": seq, "token": text}
        told = {} if channel is None else {"channel": channel}
        return encode({**fields, "token_id": token_id, **told})


def _sanitized(value: Any) -> Any:
    """Copy a value, with unpaired surrogates and integers out of range replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_sanitized(key): _sanitized(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sanitized(item) for item in value]
    if isinstance(value, int):
        return max(-MAX_SAFE_INTEGER, min(value, MAX_SAFE_INTEGER))
    return value


def _json_kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "an array"}.get(type(value), "a number")


def encode_request(
    request_id: str, command: str, fields: dict[str, Any], max_line_bytes: int
) -> bytes:
    """Return the line of a request.

    Raises: WireError ``invalid_params`` if a field has a name of the envelope, a string is not
    well-formed Unicode, a number is NaN or infinite, or a value has no JSON form;
    ``message_too_large`` if the line has more than ``max_line_bytes``.
    """
    for name in ENVELOPE:
        if name in fields:
            raise invalid_params(
                name,
                f"`{name}` is no option of `{command}`: the client itself sets it in each request. "
                "Leave it out",
            )
    try:
        line = orjson.dumps(
            {"id": request_id, "cmd": command, **fields}, option=orjson.OPT_APPEND_NEWLINE
        )
    except TypeError as error:
        raise _unsendable(command, fields, error) from None
    for name, value in fields.items():
        _refuse_non_finite(command, name, name, value)
    if len(line) - 1 > max_line_bytes:
        raise WireError(
            "message_too_large",
            f"the request has {len(line) - 1} bytes; the largest accepted size is "
            f"{max_line_bytes} bytes. Send less in one request",
            data={"max_line_bytes": max_line_bytes},
        )
    return line


def _unsendable(command: str, fields: dict[str, Any], error: TypeError) -> WireError:
    """Create the error for a request without a JSON form, with the field at fault."""
    for field, value in fields.items():
        try:
            orjson.dumps(value)
        except TypeError as reason:
            return invalid_params(
                field,
                f"`{field}` of `{command}` has a value without a JSON form: {reason}; send strings "
                "of valid Unicode, numbers, booleans, lists and dicts",
            )
    return WireError("invalid_params", f"`{command}` can't be sent as JSON: {error}")


def _refuse_non_finite(command: str, field: str, path: str, value: object) -> None:
    """Refuse a number that is NaN or infinite, which orjson would write as null.

    Raises: WireError ``invalid_params``, with the option's name as its field.
    """
    if isinstance(value, float):
        if not abs(value) < _INFINITE:  # also for NaN
            raise invalid_params(
                field,
                f"`{path}` of `{command}` is {value}; give a finite number, or leave it out",
            )
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_non_finite(command, field, f"{path}.{name}", inner)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _refuse_non_finite(command, field, f"{path}[{place}]", inner)
