"""`python -P -m mlxwire_worker.conversion`: converts a model, as `mlxwire convert` asks.

It reads a task as a line of JSON from stdin and writes events to stdout, until the last one:
`result` or `error`. The end of stdin, SIGINT and SIGTERM end it early, and leave nothing behind.
"""

from __future__ import annotations

from ..process.import_path import leave_working_folder

leave_working_folder()  # before any import that is not a part of this package

from ..process.child.command import run  # noqa: E402
from ..process.child.pipes import Pipes  # noqa: E402
from ..process.stdio import claim_wire  # noqa: E402


def main() -> None:
    """Convert one model, and end the process."""
    pipes = Pipes(*claim_wire())
    if line := pipes.read_line():
        run(pipes, lambda pipes: _convert(line, pipes), "the model can't be converted")


def _convert(line: bytes, pipes: Pipes) -> None:
    from .task import read_task

    task = read_task(line)
    pipes.progress("check", 0, 1)
    from ..mlx_engine.importing import import_or_explain

    import_or_explain()
    from .converting import convert

    pipes.result(convert(task, pipes.progress))


if __name__ == "__main__":
    main()
