"""Write for people and for pipes: plain text everywhere, colour and bars only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from mlxwire_protocol.replies import Progress

_COUNTED = {"compile": "kernels compiled"}
"""Stages whose total grows with what is done: a share of it would tell nothing, the number does."""

CONTROL_SHOWN = "�"
CONTROLS = dict.fromkeys([*range(32), *range(0x7F, 0xA0)], CONTROL_SHOWN)
"""Characters that could steer a terminal; a model or a file name may contain them."""
for kept in "\n\t":
    del CONTROLS[ord(kept)]


def visible(text: str) -> str:
    """Return the text with control characters replaced."""
    return text.translate(CONTROLS)


def write_text(text: str) -> None:
    """Write a piece of a result at once; unchanged to a pipe."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_json(result: Mapping[str, Any]) -> None:
    """Write one JSON object on one line."""
    import orjson

    try:
        line = orjson.dumps(result).decode()
    except TypeError:  # an error may quote an argument that is not valid Unicode
        import json

        line = json.dumps(result)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_table(rows: Mapping[str, object]) -> None:
    """Write names and values: a table on a terminal, aligned lines to a pipe."""
    width = max(map(len, rows))
    if not sys.stdout.isatty():
        for name, value in rows.items():
            write_text(f"{name:<{width}}  {value}\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(visible(str(value))))
    Console().print(table)


def say(text: str, style: str = "", *, end: str = "\n") -> None:
    """Write a message that is no result to stderr, in ``style`` on a terminal."""
    with suppress(OSError):
        if not sys.stderr.isatty():
            sys.stderr.write(text + end)
            sys.stderr.flush()
            return
        from rich.text import Text

        _stderr_console().print(Text(visible(text), style), end=end, soft_wrap=True)


class ProgressBar:
    """A progress bar on stderr from the first report until it is closed; only on a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._bars: Bars | None = None
        self._stage: tuple[str, TaskID] | None = None

    def __call__(self, report: Progress) -> None:
        """Show a report of progress."""
        if not self._shown:
            return
        bars = self._bars = self._bars or _open_bars()
        counted = report.stage in _COUNTED
        total = None if counted else report.total or None
        if self._stage is None or self._stage[0] != report.stage:
            if self._stage is not None:
                bars.remove_task(self._stage[1])
            self._stage = report.stage, bars.add_task(visible(report.stage), total=total)
        told = self.description(report)
        bars.update(self._stage[1], description=told, completed=report.done, total=total)

    def description(self, report: Progress) -> str:
        """Return the words before the bar."""
        counted = _COUNTED.get(report.stage)
        return visible(report.stage) if counted is None else f"{counted}: {report.done:g}"

    def close(self) -> None:
        """Remove the bar for good."""
        self._shown = False
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_bars() -> Bars:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description:>8}"), BarColumn()
    bars = Bars(
        *columns,
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=_stderr_console(),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bars.start()
    return bars


def _stderr_console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)
