"""Exits for a worker that nobody hears any more (SPEC §9)."""

from __future__ import annotations

import os

EXIT_STDOUT_BROKEN = 3
EXIT_PARENT_GONE = 4


def exit_if_abandoned(sign: str) -> None:
    """End at once where the reader saw that the host is gone; nothing is left to flush to."""
    if sign == "stdout_broken":
        os._exit(EXIT_STDOUT_BROKEN)
    if sign == "parent_gone":
        os._exit(EXIT_PARENT_GONE)
