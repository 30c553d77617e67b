"""Every fault of `testdata/faults/` against a client: each script is a case of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from .cases import Case, Failure
from .driver import ROOT, WORKER, DriverRun, run_driver
from .judging import check_error, check_run, read_result
from .scenarios import SLEEPER_TOKENS, SLOW, check_next

FOLDER = ROOT / "testdata" / "faults"
TEXT = "one two three"
MEGABYTE = 1 << 20
CLOSED_SECONDS = 5.0
"""The longest close in seconds; the limits in DRIVER.md add up to 1.4."""


class Expectation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The outcome of a fault in a right client; `testdata/faults/README.md` tells of each field."""

    ok: str
    codes: list[str] = []
    seconds: float
    scenario: str = "fault"
    text: str | None = TEXT
    retryable: bool | None = None
    next: str = "always"
    memory_mb: int | None = None
    survivor: bool = False


def fault_cases(driver: Sequence[str], folder: Path = FOLDER) -> list[Case]:
    """Return one case for each script."""
    return [
        Case(f"fault/{path.stem}", partial(_run, driver, path))
        for path in sorted(folder.glob("*.json"))
    ]


def read_expectation(path: Path) -> Expectation:
    """Read what a script says beside its faults."""
    return msgspec.convert(json.loads(path.read_text("utf-8"))["expect"], Expectation)


def _run(driver: Sequence[str], path: Path) -> Iterator[Failure]:
    due = read_expectation(path)
    worker = [*WORKER, "--faults", str(path), *(SLOW if due.scenario == "cancel" else ())]
    run = run_driver(driver, due.scenario, worker, survivors=due.survivor)
    yield from check_run(run, limit=due.seconds, survivors=due.survivor)
    yield from _check_memory(run, due)
    result = read_result(run, due.scenario)
    if isinstance(result, Failure):
        yield result
        return
    if due.scenario == "fault" and result["closed_seconds"] > CLOSED_SECONDS:
        yield Failure("closed_seconds", f"closing took {result['closed_seconds']} s")
    if result["outcome"] == "ok":
        yield from _check_success(result, due)
    else:
        yield from _check_failure(result, due)
    if due.scenario == "fault":
        yield from check_next(result, TEXT)
    elif due.scenario == "cancel" and due.next == "always":
        yield from check_next(result)


def _check_memory(run: DriverRun, due: Expectation) -> Iterator[Failure]:
    if due.memory_mb is not None and run.peak_bytes > due.memory_mb * MEGABYTE:
        held = run.peak_bytes // MEGABYTE
        yield Failure("memory", f"it held {held} MB where {due.memory_mb} are enough")


def _check_success(result: dict[str, Any], due: Expectation) -> Iterator[Failure]:
    if due.ok == "never":
        yield Failure("outcome", f"it succeeded where {due.codes} was due")
    if due.scenario == "fault" and due.text is not None and result["text"] != due.text:
        yield Failure("text", f"{result['text'][:300]!r} where {due.text!r} was due")
    if due.scenario == "sleeper" and result["tokens"] != SLEEPER_TOKENS:
        yield Failure("tokens", f"{result['tokens']} of {SLEEPER_TOKENS} came")


def _check_failure(result: dict[str, Any], due: Expectation) -> Iterator[Failure]:
    error = result["error"]
    if due.ok == "always" or error.get("code") not in due.codes:
        allowed = due.codes if due.ok != "always" else "none"
        yield Failure("outcome", f"the error is {str(error)[:600]}, where {allowed} was due")
    if error.get("tokens_delivered") != result["tokens"]:
        told = error.get("tokens_delivered")
        yield Failure("tokens_delivered", f"{told} are told, {result['tokens']} were read")
    yield from check_error(
        error, retryable=due.retryable, code_is_new=error.get("code") in due.codes
    )
