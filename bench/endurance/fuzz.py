"""Fuzzing at length: every target of `tests/fuzz/` is fed until its inputs or its time are used up.

    python -m bench.endurance.fuzz [--target NAME …] [--inputs N] [--seconds S] [--seed K] [--jobs J]
    python -m bench.endurance.fuzz --replay FILE …

An input is one line or chunk. A finding is written to a file, made as small as it gets, that
`--replay` repeats; in `testdata/fuzz/` it becomes a test. The exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from fuzz.cases import failure_of, from_json, kind_of, smaller, to_json, words_for  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402

FOLDER = Path(tempfile.gettempdir()) / "mlxwire-fuzz"
BETWEEN_LOOKS = 64
"""Cases between two looks at the clock."""
MOST_FINDINGS = 8
"""The most findings of one job; a target that always fails needs no more."""


class Tally(NamedTuple):
    """The figures of one job, and the files of its findings."""

    cases: int
    inputs: int
    seconds: float
    findings: dict[str, Path]


def fuzz(name: str, seed: str, inputs: int, seconds: float, folder: Path) -> Tally:
    """Run one job; keep one finding of each kind."""
    dice, began = random.Random(seed), time.monotonic()
    cases = fed = 0
    findings: dict[str, Path] = {}
    with closing(TARGETS[name]()) as target:
        while fed < inputs and len(findings) < MOST_FINDINGS:
            if cases % BETWEEN_LOOKS == 0 and time.monotonic() - began > seconds:
                break
            cases += 1
            case = target.make(dice)
            try:
                fed += target.run(case)
            except Exception as error:
                found = words_for(error)
                if (kind := kind_of(found)) not in findings:
                    case = smaller(target, case)
                    findings[kind] = folder / f"{name}-{seed}-{len(findings)}.json"
                    findings[kind].write_text(to_json(name, case, found), "utf-8")
    return Tally(cases, fed, time.monotonic() - began, findings)


def replay(files: list[Path]) -> int:
    """Run kept cases; return how many fail."""
    failures = 0
    for file in files:
        name, case = from_json(file.read_text("utf-8"))
        with closing(TARGETS[name]()) as target:
            found = failure_of(target, case)
        print(f"{file}: {found or 'nothing is wrong'}")
        failures += found is not None
    return failures


def run(names: list[str], given: argparse.Namespace) -> int:
    """Run all jobs and print the table; return the number of findings."""
    print(
        f"{'target':<10}{'cases':>14}{'inputs':>14}{'inputs/s':>12}{'seconds':>10}{'findings':>10}"
    )
    total = 0
    given.findings.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        for name in names:
            seeds = [f"{given.seed}.{job}" for job in range(given.jobs)]
            share = -(-given.inputs // given.jobs)
            jobs = [
                pool.submit(fuzz, name, seed, share, given.seconds, given.findings)
                for seed in seeds
            ]
            tallies = [job.result() for job in jobs]
            total += report(name, tallies)
    return total


def report(name: str, tallies: list[Tally]) -> int:
    """Print a target's row and its findings; return how many there were."""
    cases, inputs = (sum(getattr(t, field) for t in tallies) for field in ("cases", "inputs"))
    seconds = max(tally.seconds for tally in tallies)
    findings = [found for tally in tallies for found in tally.findings.items()]
    rate = inputs / seconds if seconds else 0
    print(
        f"{name:<10}{cases:>14,}{inputs:>14,}{rate:>12,.0f}{seconds:>10.0f}{len(findings):>10}",
        flush=True,
    )
    for kind, file in findings:
        print(f"    {kind}  ({file})", flush=True)
    return len(findings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="these alone")
    parser.add_argument(
        "--inputs", type=int, default=2_000_000, help="the most for each target"
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="the most for each target")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--findings", type=Path, default=FOLDER, help="where they go")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.replay:
        sys.exit(replay(given.replay) > 0)
    sys.exit(run(given.target or list(TARGETS), given) > 0)


if __name__ == "__main__":
    main()
