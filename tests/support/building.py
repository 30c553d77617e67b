"""Asks a process to build a model of a folder, as a full check of a discovery does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlxwire_worker.mlx_engine.discovery.full_check import FullCheck


def built_info(check: FullCheck, folder: Path) -> dict[str, Any]:
    """Return the `info` of the model in a folder. Raises: WireError."""
    running = check.check(folder)
    try:
        while True:
            next(running)
    except StopIteration as end:
        info: dict[str, Any] = end.value
        return info
