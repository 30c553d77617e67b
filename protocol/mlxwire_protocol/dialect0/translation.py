"""Converts dialect 0, the older protocol without ids, to typed messages and back (SPEC §7).

Its requests become typed commands under generated ids, and the typed replies to those become its
bare objects, so the rest of the worker does not know of dialect 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ..codec import convert_command
from ..commands import COMMANDS, command_name
from ..errors import WireError
from ..messages import MAX_SAFE_INTEGER, Chat, Command, Load, Sampling
from ..replies import Done, Error, Token
from ..results import LoadResult, ModelInfo

_SAMPLING = frozenset(
    {"max_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty"}
)
FIELDS: dict[str, frozenset[str]] = {
    "load": frozenset({"path", "context_len", "adapter_path"}),
    "generate": _SAMPLING | {"prompt"},
    "chat": _SAMPLING | {"messages"},
    "info": frozenset(),
    "cancel": frozenset(),
    "quit": frozenset(),
}
"""The fields of each command. All others are ignored, as the hosts of dialect 0 expect."""

_INTEGERS = frozenset({"max_tokens", "top_k", "context_len"})
STREAMS = frozenset(name for name in FIELDS if COMMANDS[name].final == "done")


class Dialect0Load(Load, kw_only=True, frozen=True, tag="load"):
    """A `load` with a ``context_len``: older workers took it for the size of a rotating window."""

    rotates_if_possible: ClassVar[bool] = True


class Dialect0Chat(Chat, kw_only=True, frozen=True, tag="chat"):
    """A `chat` as mlx-lm renders it, with ``enable_thinking`` set and thoughts in the text."""

    enables_thinking: ClassVar[bool] = True
    separates_channels: ClassVar[bool] = False


def to_command(fields: dict[str, Any], request_id: str) -> Command:
    """Convert a dialect-0 object to a typed command under ``request_id``.

    Some values of dialect 0 mean "left out" or "off", such as a negative ``top_k``; they are
    replaced by values that mean the same in dialect 1. Raises: WireError as `convert_command` does.
    """
    name = fields.get("cmd")
    if not isinstance(name, str):
        raise WireError("invalid_request", 'missing cmd; send {"cmd": …}')
    if name not in FIELDS:
        raise WireError("unknown_command", f"unknown command; known are {', '.join(FIELDS)}")
    kept: dict[str, Any] = {"id": request_id, "cmd": name}
    for key in FIELDS[name] & fields.keys():
        value = _meant(key, fields[key])
        if value is not None:
            kept[key] = value
    command = convert_command(kept)
    if isinstance(command, Chat):
        return Dialect0Chat(**msgspec.structs.asdict(command))
    if isinstance(command, Load) and command.context_len is not None:
        return Dialect0Load(**msgspec.structs.asdict(command))
    return command


def _meant(key: str, value: Any) -> Any:
    """Return what older workers took a field's value for; None if it counts as left out."""
    if isinstance(value, float) and value.is_integer() and key in _INTEGERS:
        value = int(value)
    if key == "messages" and isinstance(value, list):
        return [_message(message) for message in value]
    if key == "adapter_path":
        return value if value != "" else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    match key:
        case "max_tokens":
            return MAX_SAFE_INTEGER if value < 0 else min(value, MAX_SAFE_INTEGER)
        case "context_len":
            return value or None
        case "top_k" | "repeat_penalty":
            return max(value, 0)
        case "top_p":
            return value if 0 < value < 1 else None
        case _:
            return value


def error_line(command: str | None, error: WireError) -> dict[str, Any]:
    """Return an error in dialect 0's shape, an object with one string."""
    if error.code == "parse_error":
        return {"error": f"parse error: {error.message}"}
    return {"error": f"{command or 'request'}: {error.message}"}


class Encoder:
    """Converts the replies to one dialect-0 request into its lines.

    The newest token is held until the next reply. Text that comes at the end without a token of
    its own is appended to it, so that the number of token lines equals ``tokens_generated``.
    """

    def __init__(self, command: Command) -> None:
        self.command = command_name(command)
        self._most = command.max_tokens if isinstance(command, Sampling) else 0
        self._newest: dict[str, Any] | None = None

    def lines(self, reply: msgspec.Struct) -> list[dict[str, Any]]:
        """Return the lines to send now for one typed reply; often none."""
        match reply:
            case Token():
                flush = bool(getattr(reply, "flush", False))
                return self.token(reply.token, reply.token_id, flush=flush)
            case Done() if self.command not in STREAMS:
                return [error_line(self.command, WireError("internal", "cancelled"))]
            case Done() if reply.finish_reason == "length" and (
                reply.tokens_generated < self._most
            ):
                full = WireError(
                    "context_overflow",
                    f"the context was full after {reply.tokens_generated} tokens of the answer; "
                    "send a shorter prompt, or a smaller `max_tokens`",
                )
                return [*self._release(), error_line(self.command, full)]
            case Done():
                done = {"done": True, "tokens_generated": reply.tokens_generated}
                return [*self._release(), done]
            case Error():
                failure = WireError(reply.error.code, reply.error.message)
                return [*self._release(), error_line(self.command, failure)]
            case LoadResult():
                return [
                    {
                        "ok": True,
                        "model_type": reply.model_type,
                        "vocab_size": reply.vocab_size,
                    }
                ]
            case ModelInfo():
                return [
                    {
                        "model_type": reply.model_type,
                        "vocab_size": reply.vocab_size,
                        "layers": reply.layers,
                        "hidden_size": reply.hidden_size,
                    }
                ]
            case _:
                return []

    def token(self, text: str, token_id: int, *, flush: bool) -> list[dict[str, Any]]:
        """Return the lines to send now for one token, or for text held back until the end."""
        if flush and self._newest is not None:
            self._newest["token"] += text
            return []
        released = self._release()
        self._newest = {"token": text, "token_id": token_id}
        return released

    def _release(self) -> list[dict[str, Any]]:
        newest, self._newest = self._newest, None
        return [] if newest is None else [newest]


def _message(message: object) -> object:
    """Return a message with only the fields that older workers knew, its content as one string."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if content is None:
        content = ""
    elif isinstance(content, list):
        texts = [_part_text(part) for part in content]
        content = "".join(texts) if None not in texts else content
    kept = {"role": message["role"]} if "role" in message else {}
    return {**kept, "content": content}


def _part_text(part: object) -> Any:
    """Return the text of one part of a message; None for any other kind of part."""
    if isinstance(part, dict) and part.get("type", "text") == "text":
        text = part.get("text")
        return text if isinstance(text, str) else None
    return part if isinstance(part, str) else None
