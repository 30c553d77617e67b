"""The error tree of the wire: every failure has a code, a message with the remedy, and data.

Worker-made and client-made codes share one list (SPEC §6). Clients build their exceptions
from these; nothing else in the project invents a code.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

WorkerErrorCode = Literal[
    "parse_error",
    "invalid_request",
    "invalid_params",
    "unknown_command",
    "not_initialized",
    "unsupported_protocol",
    "unsupported_capability",
    "duplicate_id",
    "message_too_large",
    "overloaded",
    "shutting_down",
    "model_not_loaded",
    "model_not_found",
    "model_load_failed",
    "unsupported_model",
    "context_overflow",
    "out_of_memory",
    "deadline_exceeded",
    "internal",
]
ClientErrorCode = Literal[
    "spawn_failed",
    "handshake_failed",
    "worker_crashed",
    "timeout",
    "drain_timeout",
    "slow_consumer",
    "cancelled",
    "protocol_violation",
]
ErrorCode = WorkerErrorCode | ClientErrorCode

WORKER_CODES: tuple[str, ...] = get_args(WorkerErrorCode)
CLIENT_CODES: tuple[str, ...] = get_args(ClientErrorCode)
SHOWN_CHARACTERS = 128
"""How much of a peer's own words an error quotes, so that no answer outgrows a line."""
RETRYABLE_CODES = frozenset({"overloaded", "out_of_memory", "worker_crashed"})
"""Codes whose request may succeed unchanged on a later try; others need a change first."""


class WireError(Exception):
    """A typed failure: ``code`` from SPEC §6, a ``message`` that says what to do, ``data``."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = code in RETRYABLE_CODES if retryable is None else retryable
        self.data: dict[str, Any] = data or {}

    @property
    def field(self) -> str | None:
        """The request's field that was wrong, where the code is ``invalid_params``."""
        value = self.data.get("field")
        return value if isinstance(value, str) else None


def invalid_params(field: str, message: str, **data: Any) -> WireError:
    """``invalid_params`` for one field of a request."""
    return WireError("invalid_params", message, data={"field": field, **data})


def quoted(value: object) -> str:
    """A peer's own value in an error's message, as much of it as is shown there."""
    try:
        return repr(value)[:SHOWN_CHARACTERS]
    except RecursionError:  # JSON may be nested deeper than Python can print
        return f"a deeply nested {type(value).__name__}"
