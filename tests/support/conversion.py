"""Converts models in this process, and describes what became of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlxwire_worker.conversion.converting import convert
from mlxwire_worker.conversion.task import read_task


def converted(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Convert a model, and return the figures of the result. Raises: WireError."""
    return recorded(source, out, [], **options)


def recorded(
    source: Path, out: Path, events: list[tuple[Any, ...]], **options: Any
) -> dict[str, Any]:
    """Convert a model, and add what it reports to ``events``: stage, done, total. Raises: WireError."""
    task = {"source": str(source), "out": str(out), **options}
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in task.items()}

    def report(stage: str, done: float, total: float, **_: Any) -> None:
        events.append((stage, done, total))

    return convert(read_task(json.dumps(plain).encode()), report)


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def names_in(folder: Path) -> list[str]:
    """Return the names of all files and folders in a folder."""
    return sorted(file.name for file in folder.iterdir())
