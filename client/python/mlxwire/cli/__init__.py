"""The `mlxwire` command. Results go to stdout and everything else to stderr, so pipes work.

For a quick start, typer is imported when a command runs, and rich when a terminal is written to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO, cast


def main(ready: Callable[[], object] | None = None) -> None:
    """Run the command line; exit with the codes of `exits`.

    ``ready`` is called when all is imported and the command begins.
    """
    _prepare_streams()
    if sys.argv[1:] == ["--version"]:
        from ..version import __version__

        print(f"mlxwire {__version__}")
        return
    from .app import app

    if ready is not None:
        ready()
    app()


def _prepare_streams() -> None:
    """Replace what can't be encoded, and put a null device in place of a closed stream."""
    # A stream that the shell closed (`>&-`) is None, and its descriptor would become a pipe's.
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    cast(TextIOWrapper, sys.stdin).reconfigure(errors="surrogateescape")
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")


def _null(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode))
