"""The register of ways to break a model folder: functions, each with a name and a description."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Damage:
    """One way to break a healthy model of `shards` weight files."""

    description: str
    apply: Callable[[Path], None]
    shards: int


DAMAGES: dict[str, Damage] = {}


def damage(
    kind: str, description: str, *, shards: int = 1
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register the decorated function, which breaks the model in a folder, as `kind`."""

    def register(apply: Callable[[Path], None]) -> Callable[[Path], None]:
        DAMAGES[kind] = Damage(description, apply, shards)
        return apply

    return register


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a JSON file after `edit` has changed its object in place."""
    value = json.loads(path.read_text(encoding="utf-8"))
    edit(value)
    path.write_text(json.dumps(value, indent=2) + "\n")  # escapes, also of half a character


def edit_config(path: Path, **changes: object) -> None:
    """Set members of the `config.json` in a model's folder."""
    edit_json(path / "config.json", lambda config: config.update(changes))
