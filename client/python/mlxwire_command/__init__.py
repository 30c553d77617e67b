"""Entry of the `mlxwire` command: lets Ctrl-C end it quietly while the rest is imported.

The import of `mlxwire` takes most of the command's start, and Ctrl-C would show its traceback.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Run `mlxwire.cli.main`; exit with `INTERRUPTED` if Ctrl-C comes before that can heed it."""
    heeds = signal.getsignal(signal.SIGINT) == signal.default_int_handler
    if heeds:  # otherwise the signal is ignored, for example in the background of a script
        signal.signal(signal.SIGINT, _end)
    from mlxwire.cli import main as run

    try:
        run(_begin if heeds else None)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    finally:
        if heeds:
            signal.signal(signal.SIGINT, _end)  # at the interpreter's end


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
