"""The error codes of the protocol, and the exception that carries one.

Every error has a code, a message with the remedy, and data. This file lists all codes of workers
and clients (SPEC §6); clients derive their exceptions from it.
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
    "unavailable",
    "training_failed",
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
    "invalid_answer",
]
ErrorCode = WorkerErrorCode | ClientErrorCode

WORKER_CODES: tuple[str, ...] = get_args(WorkerErrorCode)
CLIENT_CODES: tuple[str, ...] = get_args(ClientErrorCode)
SHOWN_CHARACTERS = 128
"""The most characters of the peer's text that an error quotes, so that it fits into a line."""
RETRYABLE_CODES = frozenset({"overloaded", "out_of_memory", "unavailable", "worker_crashed"})
"""Codes after which the same request may succeed later; after others it must be changed."""


class WireError(Exception):
    """An error with a ``code`` of SPEC §6, a ``message`` that says what to do, and ``data``.

    ``retryable`` says if the same request may succeed later.
    """

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
        """Return the field of the request that was wrong, if the error is about one."""
        value = self.data.get("field")
        return value if isinstance(value, str) else None


def invalid_params(field: str, message: str, **data: Any) -> WireError:
    """Create a WireError ``invalid_params`` for one field of a request."""
    return WireError("invalid_params", message, data={"field": field, **data})


def quoted(value: object) -> str:
    """Return the first ``SHOWN_CHARACTERS`` of a value's repr, to quote it in an error."""
    try:
        return repr(value)[:SHOWN_CHARACTERS]
    except RecursionError:  # JSON may be nested deeper than Python can print
        return f"a deeply nested {type(value).__name__}"
