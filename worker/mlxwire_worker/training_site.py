"""The site of an engine's trainings: the program that does them, and the paths that it may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .process.data_roots import DataRoots


class TrainingSite(NamedTuple):
    """The command of the program, the roots of its data, and the check of a result's folder.

    ``loadable`` returns the folder of an adapter that the engine may load; it raises WireError for
    the field `load_as` if a root of models forbids it.
    """

    command: tuple[str, ...]
    roots: DataRoots
    loadable: Callable[[str], Path]
