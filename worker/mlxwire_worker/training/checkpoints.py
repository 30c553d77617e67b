"""The checkpoints of a training as they lie on disk: folders ``OUT/checkpoints/STEP``, and their state.

A folder has its step for a name once it is whole (`saving`). The worker looks for them too, when the
program has died, so this module imports no MLX.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

FOLDER = "checkpoints"


class RunState(Struct, kw_only=True, frozen=True):
    """The state of a run after ``step``, but for its arrays.

    ``options`` are those that a resumed run must share. Losses are None before the first one;
    ``tokens`` and ``seconds`` count from the start.
    """

    step: Annotated[int, Meta(ge=0)]
    options: dict[str, Any]
    first_loss: float | None
    last_loss: float | None
    validation_loss: float | None
    tokens: Annotated[int, Meta(ge=0)]
    seconds: float


def numbered(out: Path) -> list[Path]:
    """Return what has a step for a name in the folder of checkpoints, by step. Raises: OSError."""
    folder = out / FOLDER
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name))
