"""What is said of a worker that ended: by itself, by its host, or for an offence."""

from __future__ import annotations

import signal as signals
from collections.abc import Sequence

from mlxwire_protocol import WireError

from ..errors import (
    HandshakeFailed,
    MlxwireError,
    ProtocolViolation,
    ShuttingDown,
    WorkerCrashed,
)

START_ANOTHER = ". Start another one"
ANOTHER_COMES = (
    ". Another one is started, as far as the restart policy allows; no request is sent again by "
    "itself"
)


def closed_by_host(what: str = "worker") -> ShuttingDown:
    """What a closed worker answers, or supervisor."""
    return ShuttingDown(f"this {what} was closed; start another one")


def another_comes(error: MlxwireError) -> None:
    """Its supervisor does what the host of a worker alone has to."""
    error.message = error.message.replace(START_ANOTHER, ANOTHER_COMES)


def exited(
    returncode: int, *, greeting: bool, strays: Sequence[bytes], stderr_tail: str
) -> MlxwireError:
    """It exited though nobody asked; ``greeting``: before it had answered hello.

    Then it is most likely no worker, or can't run here, and would exit as fast another time.
    """
    how, exit_code, signal = describe_exit(returncode)
    if greeting:
        return HandshakeFailed(
            f"the worker {how} before it answered hello{describe_strays(strays)}. See what "
            "it says on stderr, check that the command is a worker, or install one with "
            "`pip install 'mlxwire[mlx]'`",
            data={"exit_code": exit_code, "signal": signal},
            stderr_tail=stderr_tail,
        )
    return WorkerCrashed(
        f"the worker {how}{START_ANOTHER}",
        exit_code=exit_code,
        signal=signal,
        stderr_tail=stderr_tail,
    )


def closed_its_pipe(which: str, *, greeting: bool, stderr_tail: str) -> MlxwireError:
    """It lives, and can't be heard or spoken to any more."""
    what = f"the worker closed its {which} while it was still running"
    if greeting:
        return HandshakeFailed(
            f"{what}, before it answered hello. Check that the command is a worker",
            stderr_tail=stderr_tail,
        )
    return WorkerCrashed(
        f"{what}, and is ended for that{START_ANOTHER}", stderr_tail=stderr_tail
    )


def hangs(verdict: str, *, stderr_tail: str) -> WorkerCrashed:
    """It lives and makes no progress."""
    return WorkerCrashed(
        f"the worker {verdict}, and is ended for that{START_ANOTHER}", stderr_tail=stderr_tail
    )


def killed_again(error: WorkerCrashed) -> None:
    """It died of the same request as the one before, as far as can be told."""
    error.retryable = False
    error.message += (
        ". Its only request was the only one at the crash before, too: it most likely kills "
        "each worker, so don't send it again"
    )


def crash_loop(
    last: MlxwireError, *, crashes: int, serving: int, seconds: float
) -> WorkerCrashed:
    """It died so often that it is not started again, ``serving`` times with requests in flight;
    ``last`` is how it did last."""
    how = last.message.replace(ANOTHER_COMES, "").replace(START_ANOTHER, "")
    verdict = WorkerCrashed(
        f"the worker died {crashes} times within {seconds:g} s, {serving} of them with requests "
        "in flight and the others at its start or idle, and is not started again; see to the "
        f"cause and call restart(). The last time: {how}",
        exit_code=getattr(last, "exit_code", None),
        signal=getattr(last, "signal", None),
        retryable=False,
        stderr_tail=last.stderr_tail,
    )
    verdict.in_flight = getattr(last, "in_flight", 0)
    return verdict


def offended(error: WireError, *, greeting: bool, stderr_tail: str) -> MlxwireError:
    """It broke the wire's rules; before the handshake that means it is no worker."""
    if greeting:
        return HandshakeFailed(
            f"{error.message}. Check that the command is a worker, of a version that this client "
            "knows",
            stderr_tail=stderr_tail,
        )
    return ProtocolViolation(
        f"{error.message}, and the worker is stopped for that{START_ANOTHER}",
        data=error.data,
        stderr_tail=stderr_tail,
    )


def describe_exit(returncode: int) -> tuple[str, int | None, int | None]:
    """A return code as words, exit code and signal; one of the two is None."""
    if returncode >= 0:
        return f"exited with code {returncode}", returncode, None
    try:
        name = signals.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"was ended by {name}", None, -returncode


def describe_strays(lines: Sequence[bytes]) -> str:
    """What came on stdout instead of an answer to hello, to follow a clause."""
    if not lines:
        return ""
    first = lines[0][:200].decode("utf-8", "replace")
    return f", but wrote {len(lines)} other lines, the first {first!r}"
