"""Converts dialect 0, the older protocol without ids, to typed messages and back (SPEC §7).

Its requests become typed commands under generated ids, and the typed replies to those become its
bare objects, so the rest of the worker does not know of dialect 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..codec import convert_command
from ..commands import COMMANDS
from ..errors import WireError
from ..messages import Command
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

_ZERO_MEANS_UNSET = frozenset({"context_len", "adapter_path"})
STREAMS = frozenset(name for name in FIELDS if COMMANDS[name].final == "done")


def to_command(fields: dict[str, Any], request_id: str) -> Command:
    """Convert a dialect-0 object to a typed command under ``request_id``.

    Null, a zero ``context_len`` and an empty ``adapter_path`` count as left out, because hosts
    of dialect 0 send the zero values of their types. Raises: WireError as `convert_command`
    does.
    """
    name = fields.get("cmd")
    if not isinstance(name, str):
        raise WireError("invalid_request", 'missing cmd; send {"cmd": …}')
    if name not in FIELDS:
        raise WireError("unknown_command", f"unknown command; known are {', '.join(FIELDS)}")
    kept: dict[str, Any] = {
        key: value
        for key, value in fields.items()
        if key in FIELDS[name]
        and value is not None
        and (value or key not in _ZERO_MEANS_UNSET or value is False)
    }
    if name == "chat" and isinstance(kept.get("messages"), list):
        kept["messages"] = [_message(message) for message in kept["messages"]]
    return convert_command({"id": request_id, "cmd": name, **kept})


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

    def __init__(self, command: str) -> None:
        self.command = command
        self._newest: dict[str, Any] | None = None

    def lines(self, reply: msgspec.Struct) -> list[dict[str, Any]]:
        """Return the lines to send now for one typed reply; often none."""
        match reply:
            case Token():
                flush = bool(getattr(reply, "flush", False))
                return self.token(reply.token, reply.token_id, flush=flush)
            case Done() if self.command not in STREAMS:
                return [error_line(self.command, WireError("internal", "cancelled"))]
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
    """Return a message with only the fields that older workers knew, ``role`` and ``content``."""
    if not isinstance(message, dict):
        return message
    return {key: message[key] for key in ("role", "content") if key in message}
