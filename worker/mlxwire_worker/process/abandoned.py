"""Ends the worker when its host is gone (SPEC §9)."""

from __future__ import annotations

import os

EXIT_STDOUT_BROKEN = 3
EXIT_PARENT_GONE = 4


def exit_if_abandoned(sign: str) -> None:
    """Exit at once if the sign says that the host is gone; nobody could read an answer."""
    if sign == "stdout_broken":
        os._exit(EXIT_STDOUT_BROKEN)
    if sign == "parent_gone":
        os._exit(EXIT_PARENT_GONE)
