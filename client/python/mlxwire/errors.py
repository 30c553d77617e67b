"""Every failure as an exception: one tree under `MlxwireError`, one class for each code.

The codes are the wire's (SPEC §6), those that a client makes itself included. A code that this
version does not know becomes the base class, with the code kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlxwire_protocol import WireError
from mlxwire_protocol.errors import quoted


class MlxwireError(WireError):
    """Anything that went wrong with a worker; ``code``, ``message``, ``retryable``, ``data``.

    ``stderr_tail`` is the last that the worker wrote to stderr, where that explains something.
    ``tokens_delivered`` is how many tokens the failed request had given before: a caller that
    sends it again, where it is ``retryable``, gets these again.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        data: Mapping[str, Any] | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(
            code or self.default_code, message, retryable=retryable, data=dict(data or {})
        )
        self.stderr_tail = stderr_tail
        self.tokens_delivered = 0

    def __str__(self) -> str:
        tail = self.stderr_tail.strip()
        return f"{self.code}: {self.message}" + (f"\n--- stderr ---\n{tail}" if tail else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.__dict__)


class ParseError(MlxwireError):
    """The worker could not read a line as JSON."""

    default_code = "parse_error"


class InvalidRequest(MlxwireError):
    """A request was no request: bad id, missing command, hello said twice."""

    default_code = "invalid_request"


class InvalidParams(MlxwireError):
    """A field of a request was wrong or unknown; ``field`` names it."""

    default_code = "invalid_params"


class UnknownCommand(MlxwireError):
    """The worker has no such command; a newer one may."""

    default_code = "unknown_command"


class NotInitialized(MlxwireError):
    """A request came before the handshake, or before the worker was started."""

    default_code = "not_initialized"


class UnsupportedProtocol(MlxwireError):
    """Client and worker have no protocol version in common."""

    default_code = "unsupported_protocol"


class UnsupportedCapability(MlxwireError):
    """The worker lacks something that was required; ``data["missing"]`` names it."""

    default_code = "unsupported_capability"


class DuplicateId(MlxwireError):
    """A request's id was used before."""

    default_code = "duplicate_id"


class MessageTooLarge(MlxwireError):
    """A request's line passes the worker's limit; nothing was sent."""

    default_code = "message_too_large"


class Overloaded(MlxwireError):
    """The worker has as many requests as it takes; send this one again later."""

    default_code = "overloaded"


class ShuttingDown(MlxwireError):
    """The worker is closing, or was closed; start another."""

    default_code = "shutting_down"


class ModelNotLoaded(MlxwireError):
    """No model is loaded, or this one was closed or replaced."""

    default_code = "model_not_loaded"


class ModelNotFound(MlxwireError):
    """There is no model at that path."""

    default_code = "model_not_found"


class ModelLoadFailed(MlxwireError):
    """The model's files are there and can't be used."""

    default_code = "model_load_failed"


class UnsupportedModel(MlxwireError):
    """The worker has no code for this kind of model."""

    default_code = "unsupported_model"


class ContextOverflow(MlxwireError):
    """The prompt leaves no room in the context."""

    default_code = "context_overflow"


class OutOfMemory(MlxwireError):
    """The request needs more memory than there is."""

    default_code = "out_of_memory"


class DeadlineExceeded(MlxwireError):
    """The worker's own deadline for the request passed."""

    default_code = "deadline_exceeded"


class InternalError(MlxwireError):
    """A defect in the worker."""

    default_code = "internal"


class SpawnFailed(MlxwireError):
    """The worker's program could not be started at all."""

    default_code = "spawn_failed"


class HandshakeFailed(MlxwireError):
    """The program started, and did not answer hello as a worker does, or exited instead:
    ``data`` has its ``exit_code`` or ``signal`` then. Not retryable: another start does the same."""

    default_code = "handshake_failed"


class WorkerCrashed(MlxwireError):
    """The worker died. ``exit_code`` or ``signal`` says how; both None if it had to be ended.

    ``in_flight`` is how many requests it owed their final then: with 1 it was that request, or
    chance. Not ``retryable`` where it died so often that it is not started again, and, behind a
    supervisor, where the same request was the only one in flight at the crash before too.
    """

    default_code = "worker_crashed"

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        retryable: bool | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(
            message,
            retryable=retryable,
            data={"exit_code": exit_code, "signal": signal, "stderr_tail": stderr_tail},
            stderr_tail=stderr_tail,
        )
        self.exit_code = exit_code
        self.signal = signal
        self.in_flight = 0


class RequestTimeout(MlxwireError, TimeoutError):
    """The caller's ``timeout`` passed; the request was cancelled in the worker."""

    default_code = "timeout"


class DrainTimeout(MlxwireError):
    """A cancelled request did not end in time; the worker may hang. Close it."""

    default_code = "drain_timeout"


class SlowConsumer(MlxwireError):
    """A stream was not taken and passed its buffer; it was cancelled. A worker that knows
    `window` waits instead."""

    default_code = "slow_consumer"


class RequestCancelled(MlxwireError):
    """Another call cancelled the request, such as `Worker.cancel`; whoever waited for all of it
    gets this. A stream that is iterated ends instead, and its ``done`` tells."""

    default_code = "cancelled"


class ProtocolViolation(MlxwireError):
    """The worker broke the wire's rules; it was stopped."""

    default_code = "protocol_violation"


ERRORS_BY_CODE: Mapping[str, type[MlxwireError]] = {
    kind.default_code: kind for kind in MlxwireError.__subclasses__()
}


def error_from_code(
    code: str,
    message: str,
    *,
    retryable: bool | None = None,
    data: Mapping[str, Any] | None = None,
) -> MlxwireError:
    """The exception for a code; the base class where the code is not known."""
    kind = ERRORS_BY_CODE.get(code, MlxwireError)
    if kind is WorkerCrashed:
        kind = MlxwireError  # a worker that can still say so has not crashed
    return kind(message, code=code, retryable=retryable, data=data)


def error_from_reply(message: Mapping[str, Any]) -> MlxwireError:
    """The exception for an ``error`` reply."""
    body = message.get("error")
    if not isinstance(body, dict):
        return ProtocolViolation(f"an error reply has no error in it: {quoted(body)}")
    code, text, data = body.get("code"), body.get("message"), body.get("data")
    return error_from_code(
        code if isinstance(code, str) else quoted(code),
        text if isinstance(text, str) else quoted(text),
        retryable=bool(body.get("retryable")),
        data=data if isinstance(data, dict) else None,
    )


def error_from_wire(error: WireError) -> MlxwireError:
    """The exception for what the protocol core raised."""
    return error_from_code(
        error.code, error.message, retryable=error.retryable, data=error.data
    )


def _rebuild(
    kind: type[MlxwireError], message: str, attributes: dict[str, Any]
) -> MlxwireError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error
