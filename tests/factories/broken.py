"""Builds model folders that are broken in one way each, for the checks that come before a load."""

from __future__ import annotations

from pathlib import Path

# Imported for the damages they register.
from . import damaged_files, damaged_weights  # noqa: F401
from .damage import DAMAGES
from .models import build_model

BROKEN: dict[str, str] = {kind: damage.description for kind, damage in DAMAGES.items()}


def build_broken(kind: str, directory: Path | str) -> Path:
    """Write a Qwen 2 model with the one fault `kind` (of `BROKEN`); return the folder."""
    damage = DAMAGES[kind]
    model = build_model("qwen2", directory, shards=damage.shards)
    damage.apply(model)
    return model
