"""Runs the task of a program that the command line has started, and ends its process."""

from __future__ import annotations

import os
from collections.abc import Callable

from mlxwire_protocol import WireError

from ...requests.surroundings import lacking
from .pipes import Pipes

EXIT_INTERRUPTED = 130


def run(pipes: Pipes, task: Callable[[Pipes], None], failing: str) -> None:
    """Run a task, which sends its result; send an error if it fails, and end the process.

    ``failing`` says what could not be done. A failure that nothing explains is raised.
    """
    pipes.interrupt_at_end()
    status = 0
    try:
        try:
            task(pipes)
        except WireError as error:
            pipes.error(error)
        except (MemoryError, OSError, RuntimeError) as error:
            told = lacking(error, failing)
            if told is None:
                raise
            pipes.error(told)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    os._exit(status)  # threads of MLX may abort a shutdown of Python
