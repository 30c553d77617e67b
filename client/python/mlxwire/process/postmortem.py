"""Compose the error of a worker that ended: by itself, closed by its host, or for an offence.

A `Death` holds the facts. Its error is composed once, when the connection knows the aftermath:
whether another process follows, and whether one request seems to kill each process.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mlxwire_protocol import WireError

from ..errors import (
    HandshakeFailed,
    MlxwireError,
    NotInitialized,
    ProtocolViolation,
    RequestCancelled,
    ShuttingDown,
    WorkerCrashed,
)

ANOTHER_FOLLOWS = (
    "Another one is started, as far as the restart policy allows; no request is sent again by "
    "itself"
)


class Aftermath(Enum):
    """The consequence of a worker's death. The value is the advice in the error message."""

    NOTHING = "Start another one"
    RESTART = ANOTHER_FOLLOWS
    SAME_REQUEST_AGAIN = (
        f"{ANOTHER_FOLLOWS}. The only request in flight was also the only one at the crash "
        "before: it most likely kills each worker, so don't send it again"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The facts of one worker's end; ``advice`` replaces the advice of the aftermath."""

    kind: type[MlxwireError]
    fact: str
    advice: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    data: Mapping[str, Any] | None = None
    stderr_tail: str = ""

    def as_error(self, aftermath: Aftermath, in_flight: int) -> MlxwireError:
        """Compose the error. ``in_flight``: requests without a final reply at the death."""
        crashed = self.kind is WorkerCrashed
        if aftermath is Aftermath.SAME_REQUEST_AGAIN and not crashed:
            aftermath = Aftermath.RESTART  # a worker that broke the protocol was not killed
        message = f"{self.fact}. {self.advice or aftermath.value}"
        error: MlxwireError
        if crashed:
            error = WorkerCrashed(
                message,
                exit_code=self.exit_code,
                signal=self.signal,
                in_flight=in_flight,
                retryable=False if aftermath is Aftermath.SAME_REQUEST_AGAIN else None,
                stderr_tail=self.stderr_tail,
            )
        else:
            error = self.kind(message, data=self.data, stderr_tail=self.stderr_tail)
        error._fact = self.fact
        return error


def not_started() -> NotInitialized:
    """Return the error for the use of a worker that was never started."""
    return NotInitialized(
        "the worker has not been started: enter it with `async with` (in `mlxwire.sync` with "
        "`with`), or call `start()` first"
    )


def closed_by_host() -> ShuttingDown:
    """Return the error for the use of a worker that its host closed."""
    return ShuttingDown("this worker was closed; start another one")


def closed_meanwhile() -> RequestCancelled:
    """Return the error of a call that was under way when its host closed the worker."""
    return RequestCancelled(
        "the worker was closed by another call before the answer was complete; start another one "
        "and ask again if you still need the answer"
    )


def restarted_meanwhile(in_flight: int) -> WorkerCrashed:
    """Return the error of a request that was under way when its host restarted the worker."""
    return WorkerCrashed(
        "the worker was restarted by another call before the answer was complete. Ask again: the "
        "next process answers",
        exit_code=None,
        signal=None,
        in_flight=in_flight,
    )


def exited(
    returncode: int | None, *, greeting: bool, strays: Sequence[bytes], stderr_tail: str
) -> Death:
    """Describe an exit that nobody asked for. ``greeting``: before the answer to hello.

    A program that exits before that answer is most likely no worker, or can't run on this
    machine, and would exit again; so the error is no crash that a restart could mend.
    """
    how, exit_code, signal = describe_exit(returncode)
    if greeting:
        return Death(
            kind=HandshakeFailed,
            fact=f"the worker {how} before it answered hello{describe_strays(strays)}",
            advice="Read its stderr, check that the command is a worker, or install one with "
            "`pip install 'mlxwire[mlx]'`",
            data={"exit_code": exit_code, "signal": signal},
            stderr_tail=stderr_tail,
        )
    return Death(
        kind=WorkerCrashed,
        fact=f"the worker {how}",
        exit_code=exit_code,
        signal=signal,
        stderr_tail=stderr_tail,
    )


def closed_its_pipe(which: str, *, greeting: bool, stderr_tail: str) -> Death:
    """Describe a worker that closed its stdin or stdout and is still running."""
    what = f"the worker closed its {which} while it was still running"
    if greeting:
        return Death(
            kind=HandshakeFailed,
            fact=f"{what}, before it answered hello",
            advice="Check that the command is a worker",
            stderr_tail=stderr_tail,
        )
    return Death(
        kind=WorkerCrashed, fact=f"{what}, and is ended for that", stderr_tail=stderr_tail
    )


def hangs(symptom: str, *, stderr_tail: str) -> Death:
    """Describe a worker that is alive but makes no progress, by its ``symptom``."""
    return Death(
        kind=WorkerCrashed,
        fact=f"the worker {symptom}, and is ended for that",
        stderr_tail=stderr_tail,
    )


def offended(error: WireError, *, greeting: bool, stderr_tail: str) -> Death:
    """Describe a worker that broke the protocol; while ``greeting`` it is no worker at all."""
    if greeting:
        return Death(
            kind=HandshakeFailed,
            fact=error.message,
            advice="Check that the command is a worker, of a version that this client knows",
            stderr_tail=stderr_tail,
        )
    return Death(
        kind=ProtocolViolation,
        fact=f"{error.message}, and the worker is ended for that",
        data=error.data,
        stderr_tail=stderr_tail,
    )


def crash_loop(
    last: MlxwireError, *, crashes: int, serving: int, seconds: float
) -> WorkerCrashed:
    """Return the error of a worker that died too often and is not started again.

    ``crashes`` within ``seconds``, ``serving`` of them with requests in flight; ``last`` is the
    error of the last one.
    """
    return WorkerCrashed(
        f"the worker died {crashes} times within {seconds:g} s, {serving} of them with requests "
        "in flight and the others at its start or idle, and is not started again. Remove the "
        f"cause and call restart(). The last time: {last._fact}",
        exit_code=getattr(last, "exit_code", None),
        signal=getattr(last, "signal", None),
        in_flight=getattr(last, "in_flight", 0),
        retryable=False,
        stderr_tail=last.stderr_tail,
    )


def describe_exit(returncode: int | None) -> tuple[str, int | None, int | None]:
    """Return a return code as words, as exit code and as signal; at least one is None."""
    if returncode is None:
        why = "because this program ignores SIGCHLD or reaps its children itself"
        return f"ended, and its exit status is unknown, {why}", None, None
    if returncode >= 0:
        return f"exited with code {returncode}", returncode, None
    try:
        name = signals.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"was ended by {name}", None, -returncode


def describe_strays(lines: Sequence[bytes]) -> str:
    """Return a clause about stdout lines that are no messages; empty if there are none."""
    if not lines:
        return ""
    first = lines[0][:200].decode("utf-8", "replace")
    return f", but wrote {len(lines)} other lines, the first {first!r}"
