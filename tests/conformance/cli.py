"""`python -m tests.conformance`: the kit from a command line, for a worker or a client of any language."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from .cases import JOBS, Case, read_expected, report, run_cases, unknown
from .fault_matrix import fault_cases
from .scenarios import scenario_cases
from .tables.table_cases import table_cases
from .worker_cases import worker_cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; 0 where all went as they should, 1 otherwise."""
    options = _parse(arguments)
    expected = read_expected(options.expected_failures) if options.expected_failures else {}
    is_chosen = partial(_is_chosen, options.only)
    cases = cases_of(options.side, options.command, is_chosen)
    chosen = [case for case in cases if is_chosen(case.name)]
    if not chosen:
        print(f"no case is called {options.only}", file=sys.stderr)
        return 1
    good = report(run_cases(chosen, options.jobs), expected, sys.stdout)
    every = cases_of(options.side, options.command)
    return 0 if report_stale(expected, every) and good else 1


def cases_of(
    side: str, command: Sequence[str], is_chosen: Callable[[str], bool] = lambda _: True
) -> list[Case]:
    """Return the cases for a worker, or for a client by its driver.

    Of the cells of a table, which are run together, only the chosen ones are among them.
    """
    if side == "worker":
        return worker_cases(command)
    tables = table_cases(command, is_chosen=is_chosen)
    return [*scenario_cases(command), *fault_cases(command), *tables]


def report_stale(expected: dict[str, str], cases: Sequence[Case]) -> bool:
    """Tell of expectations that nothing can meet; whether there are none."""
    stale = unknown(expected, cases)
    return not stale or report(stale, {}, sys.stdout)


def _is_chosen(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(fnmatch(name, f"*{pattern}*") for pattern in patterns)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--expected-failures", type=Path, metavar="FILE")
    parser.add_argument("side", choices=["worker", "client"])
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND…")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error(f"give the command of the {options.side}")
    return options
