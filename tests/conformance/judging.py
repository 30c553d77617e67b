"""Judges what a driver printed: its shape, its errors, its time, and who is left of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlxwire_protocol.errors import CLIENT_CODES, RETRYABLE_CODES, WORKER_CODES

from .cases import Failure
from .driver import DriverRun

OWN_CANCELLATION = "cancelled"
"""Stands in a driver's result for the cancellation error of its language."""
CODES = {*CLIENT_CODES, *WORKER_CODES, OWN_CANCELLATION}
ERROR_FIELDS: dict[str, tuple[type, ...]] = {
    "code": (str,),
    "retryable": (bool,),
    "message": (str,),
    "tokens_delivered": (int,),
}
FIELDS: dict[str, tuple[type, ...]] = {
    "scenario": (str,),
    "outcome": (str,),
    "error": (dict, type(None)),
    "text": (str,),
    "tokens": (int,),
    "finish_reason": (str, type(None)),
    "seconds": (int, float),
    "closed_seconds": (int, float),
    "worker_pid": (int, type(None)),
    "next": (dict, type(None)),
}
SHOWN = 600
"""Characters of a driver's stderr that a failure shows."""


def check_run(run: DriverRun, *, limit: float, survivors: bool = False) -> Iterator[Failure]:
    """Yield each breach of the rules for all runs of a driver."""
    if run.exit_code is None:
        yield Failure(
            "time", f"it was killed after {run.seconds:.0f} s; its stderr: {_tail(run)}"
        )
    elif run.exit_code != 0:
        yield Failure("exit", f"it exited with {run.exit_code}; its stderr: {_tail(run)}")
    elif run.seconds > limit:
        yield Failure("time", f"it took {run.seconds:.1f} s of {limit:g} s")
    if run.left and not survivors:
        yield Failure("processes", f"{len(run.left)} processes were left behind: {run.left}")


def read_result(run: DriverRun, scenario: str) -> dict[str, Any] | Failure:
    """Return the one line that a driver prints, or the failure where it is malformed."""
    lines = run.stdout.splitlines()
    if len(lines) != 1:
        return Failure("result", f"it printed {len(lines)} lines, not one")
    try:
        result = json.loads(lines[0])
    except ValueError as error:
        return Failure("result", f"it printed no JSON: {error}")
    if not isinstance(result, dict):
        return Failure("result", f"it printed {lines[0][:100]!r}, no object")
    if wrong := _misfit(result, FIELDS):
        return Failure("result", wrong)
    if result["scenario"] != scenario or result["outcome"] not in ("ok", "error"):
        return Failure("result", f"{result['scenario']!r} ended {result['outcome']!r}")
    if (result["outcome"] == "error") != (result["error"] is not None):
        return Failure("result", f"`outcome` is {result['outcome']!r} beside {result['error']}")
    return result


def check_error(
    error: dict[str, Any], *, retryable: bool | None = None, code_is_new: bool = False
) -> Iterator[Failure]:
    """Check that an error is typed and tells the truth about itself."""
    if wrong := _misfit(error, ERROR_FIELDS):
        yield Failure("error", wrong)
        return
    code = error["code"]
    if code not in CODES and not code_is_new:
        yield Failure("typed", f"{code!r} is no code of the protocol: {error['message'][:300]}")
    if not error["message"].strip():
        yield Failure("error", f"{code} has no message")
    expected = code in RETRYABLE_CODES if retryable is None else retryable
    if code != OWN_CANCELLATION and error["retryable"] != expected:
        yield Failure("retryable", f"{code} says that retryable is {error['retryable']}")


def _misfit(value: dict[str, Any], fields: dict[str, tuple[type, ...]]) -> str | None:
    for name, types in fields.items():
        if name not in value:
            return f"`{name}` is missing"
        if type(value[name]) not in types:
            return f"`{name}` is {str(value[name])[:100]!r}"
    return None


def _tail(run: DriverRun) -> str:
    return run.stderr[-SHOWN:].strip() or "empty"
