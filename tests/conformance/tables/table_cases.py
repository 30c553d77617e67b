"""The cells of the tables as cases of the kit. One driver process runs all cells of a table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..cases import Case, Failure
from . import bad_replies, left_out, stopping, tool_calls
from .cells import Cell, CellsRun, judge, run_cells

TABLES: dict[str, Callable[[], Iterator[Cell]]] = {
    "stopping": stopping.cells,
    "bad_replies": bad_replies.cells,
    "tool_calls": tool_calls.cells,
    "left_out": left_out.cells,
}
KNOWN_FAILURES = Path(__file__).with_name("known_failures.txt")


class _Table:
    """The cells of one table for one driver, which runs when the first of its cases does."""

    def __init__(self, driver: Sequence[str], cells: Sequence[Cell]) -> None:
        self._driver = driver
        self._cells = cells
        self._lock = threading.Lock()
        self._run: CellsRun | None = None

    def driver_failures(self) -> list[Failure]:
        """Return what was wrong with the driver as a whole: its exit, its time, what it left."""
        return self._after_run().failures

    def cell_failures(self, cell: Cell) -> Iterator[Failure]:
        """Yield what was wrong with a cell."""
        answer = self._after_run().answers.get(cell.name)
        wrong = "the driver gave no answer" if answer is None else judge(cell, answer)
        if wrong:
            yield Failure("cell", f"{cell.name}: {wrong}")

    def _after_run(self) -> CellsRun:
        with self._lock:
            if self._run is None:
                self._run = run_cells(self._driver, self._cells)
            return self._run


def table_cases(
    driver: Sequence[str],
    tables: Collection[str] = TABLES,
    is_chosen: Callable[[str], bool] = lambda _: True,
) -> Iterator[Case]:
    """Yield a case for each cell with a chosen name, and one for the driver of their table."""
    for name in tables:
        cells = [cell for cell in TABLES[name]() if is_chosen(cell.name)]
        if cells:
            table = _Table(driver, cells)
            yield Case(f"table/{name}", table.driver_failures)
            yield from (Case(cell.name, partial(table.cell_failures, cell)) for cell in cells)


def known_failures() -> set[tuple[str, str]]:
    """Read the cells that a client is known to fail, as pairs of client and cell."""
    lines = (line.partition("#")[0].split() for line in KNOWN_FAILURES.read_text().splitlines())
    return {(client, cell) for client, cell in filter(None, lines)}
