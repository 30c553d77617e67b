"""Limits for the steps that end a worker, with which no speed of the machine decides which step does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from mlxwire import ShutdownLimits

SOON = 0.1
NEVER = 1e6


def ladder_to(step: Literal["quit", "close_stdin", "terminate", "kill"]) -> ShutdownLimits:
    """Return limits with which the steps before ``step`` are soon over, and the rest never."""
    names = list(asdict(ShutdownLimits()))
    before = names[: names.index(step)]
    return ShutdownLimits(**{name: SOON if name in before else NEVER for name in names})
