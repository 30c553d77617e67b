"""Exceptions of the client: one tree under `MlxwireError`, one class for each error code.

SPEC §6 lists the codes, including those that only a client raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlxwire_protocol import WireError


class MlxwireError(WireError):
    """Base class of every error of this package.

    ``code``: the error code of SPEC §6. ``message``: a sentence for people. ``retryable``: True
    if the same request may succeed later. ``data``: further facts, by code. ``stderr_tail``: the
    end of the worker's stderr, empty if it explains nothing. ``tokens_delivered``: the number
    of tokens that the caller took before the failure; a repeated request delivers them again.
    ``results``: the results that a stream had before it, such as that of `Model.batch`.
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
        self.results: list[Any] = []
        self._fact = message
        """The message without its advice, for an error that quotes this one."""

    def __str__(self) -> str:
        tail = self.stderr_tail.strip()
        return f"{self.code}: {self.message}" + (f"\n--- stderr ---\n{tail}" if tail else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.__dict__)


class ParseError(MlxwireError):
    """The worker could not parse a line as JSON."""

    default_code = "parse_error"


class InvalidRequest(MlxwireError):
    """The worker refused a malformed request: bad id, missing command, or a second hello."""

    default_code = "invalid_request"


class InvalidParams(MlxwireError):
    """An argument or a field of a request is wrong or unknown; ``field`` names it."""

    default_code = "invalid_params"


class UnknownCommand(MlxwireError):
    """The worker does not know the command; a newer worker may know it."""

    default_code = "unknown_command"


class NotInitialized(MlxwireError):
    """A request was made before the worker was started, or before its handshake ended."""

    default_code = "not_initialized"


class UnsupportedProtocol(MlxwireError):
    """Client and worker have no protocol version in common."""

    default_code = "unsupported_protocol"


class UnsupportedCapability(MlxwireError):
    """The worker lacks a required capability; ``data["missing"]`` lists what is missing."""

    default_code = "unsupported_capability"


class DuplicateId(MlxwireError):
    """The id of a request was used before."""

    default_code = "duplicate_id"


class MessageTooLarge(MlxwireError):
    """The line of a request is longer than the worker accepts; nothing was sent."""

    default_code = "message_too_large"


class Overloaded(MlxwireError):
    """The worker already has as many requests as it accepts; send this one again later."""

    default_code = "overloaded"


class ShuttingDown(MlxwireError):
    """The worker is closing or was closed; start another one."""

    default_code = "shutting_down"


class ModelNotLoaded(MlxwireError):
    """No model is loaded, or this model was closed or replaced."""

    default_code = "model_not_loaded"


class ModelNotFound(MlxwireError):
    """No model exists at the given path."""

    default_code = "model_not_found"


class ModelLoadFailed(MlxwireError):
    """The model's files exist but can't be used."""

    default_code = "model_load_failed"


class UnsupportedModel(MlxwireError):
    """The worker has no code for this type of model."""

    default_code = "unsupported_model"


class ContextOverflow(MlxwireError):
    """The prompt is too long for the model's context."""

    default_code = "context_overflow"


class OutOfMemory(MlxwireError):
    """The request needs more memory than is available."""

    default_code = "out_of_memory"


class Unavailable(MlxwireError):
    """The worker's surroundings lack something for now: descriptors, threads, room on a disk."""

    default_code = "unavailable"


class TrainingFailed(MlxwireError):
    """The training diverged, or its process ended.

    ``data["checkpoint"]`` is the folder of the last good checkpoint, if there is one.
    """

    default_code = "training_failed"


class DeadlineExceeded(MlxwireError):
    """The request's ``deadline_seconds`` passed in the worker."""

    default_code = "deadline_exceeded"


class InternalError(MlxwireError):
    """A defect in the worker."""

    default_code = "internal"


class SpawnFailed(MlxwireError):
    """The worker's program could not be started."""

    default_code = "spawn_failed"


class HandshakeFailed(MlxwireError):
    """The program started, but exited or did not answer hello as a worker does.

    ``data`` holds ``exit_code`` or ``signal`` if it exited. Not retryable: another start of the
    same program would fail in the same way.
    """

    default_code = "handshake_failed"


class WorkerCrashed(MlxwireError):
    """The worker's process died, or was restarted by another call.

    ``exit_code`` or ``signal`` tells how it ended; both are None if this client ended it, or if
    the status is unknown. ``in_flight`` counts the requests without a final reply: if it is 1,
    that request may have killed the worker. ``retryable`` is False if a worker with ``restart``
    was given up, or if the same request was the only one in flight at two crashes in a row.
    """

    default_code = "worker_crashed"

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        in_flight: int = 0,
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
        self.in_flight = in_flight


class RequestTimeout(MlxwireError, TimeoutError):
    """The caller's ``timeout`` or ``idle_timeout`` passed; the request was cancelled."""

    default_code = "timeout"


class DrainTimeout(MlxwireError):
    """The worker did not end a cancelled request in time; it may hang, so close it."""

    default_code = "drain_timeout"


class SlowConsumer(MlxwireError):
    """A stream outgrew its buffer because its consumer was too slow; it was cancelled.

    A worker that has the capability ``window`` waits for the consumer instead.
    """

    default_code = "slow_consumer"


class RequestCancelled(MlxwireError):
    """A call such as `Worker.cancel` or `Worker.close`, or the stream's own, cancelled the request.

    A loop over a stream raises it after the replies that came before. After the stream's own
    `aclose` or `abandon`, the next read of the stream raises it at once.
    """

    default_code = "cancelled"


class ProtocolViolation(MlxwireError):
    """The worker sent something that the protocol forbids, and was ended for it."""

    default_code = "protocol_violation"


class InvalidAnswer(MlxwireError):
    """An answer with a ``response_model`` was cut off, or is no value of that type.

    ``text``: the text of the answer. ``finish_reason`` and ``complete``: as in `Done`; ``complete``
    is False if the answer was cut off.
    """

    default_code = "invalid_answer"

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        complete: bool | None = None,
        finish_reason: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.text = text
        self.complete = complete
        self.finish_reason = finish_reason


def _rebuild(
    kind: type[MlxwireError], message: str, attributes: dict[str, Any]
) -> MlxwireError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error
