"""Cells of a table, and a driver that runs them: one process for all cells that it is given."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlxwire_protocol.errors import CLIENT_CODES, WORKER_CODES

from ..cases import Failure
from ..driver import run_program
from ..judging import check_run

OBEDIENT = (sys.executable, "-I", "-S", str(Path(__file__).with_name("obedient_worker.py")))
LIMIT_SECONDS = 300.0
"""The longest that a driver may take in all. The driver itself ends a cell that hangs."""
OWN = "own"
"""The outcome where the caller gets its own error: of its signal, its context or its task."""
OUTCOMES = {"ok", OWN, *CLIENT_CODES, *WORKER_CODES}
Message = dict[str, Any]


class Between(NamedTuple):
    """Any number from ``least`` to ``most``."""

    least: float
    most: float


@dataclass(frozen=True)
class Cell:
    """One thing to try: what the driver is asked, and the fields that its answer must have.

    A value of ``due`` is that value, a set of values of which any will do, or a `Between`. With
    ``names_option`` the answer's ``message`` must contain its ``option``.
    """

    name: str
    ask: Mapping[str, Any]
    due: Mapping[str, Any]
    names_option: bool = False


@dataclass(frozen=True)
class CellsRun:
    """A driver's answers by cell, and what was wrong with it as a whole."""

    answers: Mapping[str, Message]
    failures: list[Failure]


def run_cells(driver: Sequence[str], cells: Sequence[Cell]) -> CellsRun:
    """Run cells in one process of a driver."""
    asked = [{"cell": cell.name, **cell.ask} for cell in cells]
    stdin = "".join(json.dumps(each) + "\n" for each in asked).encode()
    run = run_program([*driver, "--cells"], OBEDIENT, limit=LIMIT_SECONDS, stdin=stdin)
    answers = map(json.loads, run.stdout.splitlines())
    return CellsRun(
        {answer["cell"]: answer for answer in answers},
        list(check_run(run, limit=LIMIT_SECONDS)),
    )


def judge(cell: Cell, answer: Message) -> str:
    """Return how an answer differs from what is due; an empty string if it does not."""
    if answer.get("lacks"):
        return ""
    outcome, message = answer.get("outcome"), str(answer.get("message"))
    if outcome not in {None, *OUTCOMES, *_all(cell.due.get("outcome"))}:
        return f"the outcome {outcome!r} is no code of the protocol: {message}"
    wrong = [
        f"{name} is {answer.get(name)!r} where {_shown(value)} was due"
        for name, value in cell.due.items()
        if not _fits(answer.get(name), value)
    ]
    if cell.names_option and not re.search(rf"\b{answer.get('option')}\b", message):
        wrong.append(f"the error does not name {answer.get('option')}")
    told = f" ({message})" if wrong and answer.get("message") else ""
    return ", ".join(wrong) + told


def _fits(found: object, due: object) -> bool:
    if isinstance(due, Between):
        return isinstance(found, int | float) and due.least <= found <= due.most
    return any(found == each for each in _all(due))


def _all(due: object) -> Iterable[object]:
    return due if isinstance(due, set | frozenset) else (due,)


def _shown(due: object) -> str:
    if isinstance(due, set | frozenset):
        return " or ".join(sorted(map(repr, due)))
    return repr(due)
