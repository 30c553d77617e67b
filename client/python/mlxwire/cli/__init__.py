"""The `mlxwire` command. Results go to stdout and everything else to stderr, so pipes work.

Imports of typer wait until a command is due, those of rich until a terminal is written to.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO, cast


def main() -> None:
    """The entry point; exits as `exits` says."""
    _prepare_streams()
    if sys.argv[1:] == ["--version"]:
        from ..version import __version__

        print(f"mlxwire {__version__}")
        return
    from .app import app

    app()


def _prepare_streams() -> None:
    """What can't be encoded is replaced, and a stream that was closed is a null device."""
    # None where the shell closed it (`>&-`), and its number would go to the next pipe.
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    cast(TextIOWrapper, sys.stdin).reconfigure(errors="surrogateescape")
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")


def _null(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode))
