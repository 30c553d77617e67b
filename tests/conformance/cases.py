"""Cases of the kit: what they are, how they are run, and the table that tells how they went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

JOBS = 2
"""The number of cases that run at the same time, so that none slows another on a small machine."""


@dataclass(frozen=True)
class Failure:
    """One check that was not met; ``check`` is its name in the README."""

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True)
class Case:
    """Something to try. ``run`` gives what was wrong."""

    name: str
    run: Callable[[], Iterable[Failure]]


@dataclass(frozen=True)
class Outcome:
    """The failures of a case, and the seconds that it took."""

    name: str
    failures: list[Failure]
    seconds: float


def run_cases(cases: Sequence[Case], jobs: int = JOBS) -> Iterator[Outcome]:
    """Run them, some at a time; their outcomes in the cases' order, as soon as they are known."""
    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(_run, cases)


def _run(case: Case) -> Outcome:
    began = time.monotonic()
    try:
        failures = list(case.run())
    except Exception as error:  # a broken check is a failure of its case, not the end of all
        failures = [Failure("kit", f"{type(error).__name__}: {error}")]
    return Outcome(case.name, failures, time.monotonic() - began)


def read_expected(path: Path) -> dict[str, str]:
    """Read the cases that are known to fail: a line `NAME REASON…` each; `#` begins a comment."""
    lines = (line.partition("#")[0].split(None, 1) for line in path.read_text().splitlines())
    expected = {}
    for words in filter(None, lines):
        if len(words) < 2:
            raise ValueError(f"{path.name}: {words[0]} is expected to fail without a reason")
        expected[words[0]] = words[1].strip()
    return expected


def judge(outcome: Outcome, expected: dict[str, str]) -> list[Failure]:
    """Return the words for an outcome that is not as it should be, given the known failures."""
    if outcome.name not in expected:
        return outcome.failures
    if outcome.failures:
        return []
    reason = expected[outcome.name]
    return [Failure("stale", f"it is expected to fail ({reason}) and does not: strike it out")]


def unknown(expected: dict[str, str], cases: Sequence[Case]) -> list[Outcome]:
    """Return the expected failures that name no case."""
    names = {case.name for case in cases}
    return [
        Outcome(
            name, [Failure("stale", "it is expected to fail, and there is no such case")], 0
        )
        for name in expected
        if name not in names
    ]


def report(outcomes: Iterable[Outcome], expected: dict[str, str], out: TextIO) -> bool:
    """Print a line for each, and a sum; whether all is as it should be."""
    count, failed = 0, 0
    for outcome in outcomes:
        wrong = judge(outcome, expected)
        known = outcome.failures and not wrong
        word = "FAIL" if wrong else "known" if known else "ok"
        print(f"{word:5} {outcome.seconds:6.2f} s  {outcome.name}", file=out, flush=True)
        for failure in wrong:
            print(f"{'':16}{failure}", file=out)
        count += 1
        failed += bool(wrong)
    print(f"{count} cases, {failed} failed", file=out)
    return failed == 0
