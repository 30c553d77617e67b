"""Walks folders and finds those that are models, or plainly were meant to be.

Theory of operation. A folder with config.json and weights is a model, and one with most of a model's
files is a broken one: discovery lists it too, so that its user learns what is missing. It passes over
adapters, modules of sentence-transformers and all else.

Invariants. Each real folder is visited once, so that links can't lead in circles, and the depth below
a given folder is bounded. A link out of the folders that the host has opened is not followed. A
repository of a hub's cache is one folder, that of its revision. A folder that can't be read is left
out, and the walk goes on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..models.model_files import TOKENIZER_FILES
from ..models.weight_files import INDEX, OTHER_FORMS
from .beside import is_adapter
from .hub_cache import SNAPSHOTS, Snapshot, is_repository, snapshot_at, snapshot_of

DEEPEST = 8
"""The most folders between a given folder and a model."""
_OTHER_WEIGHTS = tuple(ending for endings, _ in OTHER_FORMS for ending in endings)
_NO_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin"})
_MODULE = re.compile(r"\d+_[A-Z]\w*")
"""Folders of modules of sentence-transformers, such as 1_Pooling: parts of the model above."""
_SKIPPED = frozenset({"node_modules", "__pycache__"})
_OTHER_REPOSITORIES = ("datasets--", "spaces--", "kernels--")
"""The names of folders in a hub's cache that hold no models."""


class FoundPlace(NamedTuple):
    """A folder to describe: its real path, its name, and where it is in a hub's cache."""

    path: Path
    name: str
    snapshot: Snapshot | None = None


class Walk:
    """The folders that one discovery has seen; ``allows`` tells if a folder may be read."""

    def __init__(self, allows: Callable[[Path], bool]) -> None:
        self._allows = allows
        self._seen: set[str] = set()

    def below(self, folder: Path) -> Iterator[FoundPlace | None]:
        """Yield the models in a folder and below it, and None for each folder that is no model.

        ``folder`` is a real path.
        """
        snapshot = snapshot_at(folder)
        if snapshot is not None:
            yield from self._visit(str(folder), 0, snapshot)
        elif is_repository(str(folder.parent)) and folder.name == SNAPSHOTS:
            yield from self._enter(str(folder.parent), 0)
        else:
            yield from self._enter(str(folder), 0)

    def _enter(self, folder: str, depth: int) -> Iterator[FoundPlace | None]:
        """Visit a folder by its real path, or the revision of a repository."""
        if is_repository(folder):
            snapshot = snapshot_of(folder)
            if snapshot is not None:
                yield from self._visit(str(snapshot.path), depth, snapshot)
        else:
            yield from self._visit(folder, depth, None)

    def _visit(
        self, folder: str, depth: int, snapshot: Snapshot | None
    ) -> Iterator[FoundPlace | None]:
        real = os.path.realpath(folder) if snapshot is not None else folder
        if real in self._seen or (snapshot is not None and not self._allows(Path(real))):
            return
        self._seen.add(real)
        files: set[str] = set()
        folders: list[tuple[str, bool]] = []
        try:
            with os.scandir(real) as entries:
                for entry in entries:
                    if _is_passed_over(entry.name):
                        continue
                    if _is_folder(entry):
                        folders.append((entry.name, entry.is_symlink()))
                    else:
                        files.add(entry.name)
        except OSError:
            return
        # A repository of the hub says itself that it is a model.
        is_one = is_model(files) or (snapshot is not None and "config.json" in files)
        if is_one and not _is_module(real):
            name = snapshot.repository if snapshot is not None else os.path.basename(real)
            yield FoundPlace(Path(real), name or real, snapshot)
        else:
            yield None
        if depth < DEEPEST:
            for name, is_link in sorted(folders):
                below = os.path.join(real, name)
                if not is_link:
                    yield from self._enter(below, depth + 1)
                elif self._allows(linked := Path(os.path.realpath(below))):
                    yield from self._enter(str(linked), depth + 1)


def is_model(names: set[str]) -> bool:
    """Return True if a folder with these files is a model, whole or not."""
    if is_adapter(names):
        return False
    weights = {name for name in names if name.endswith(".safetensors")}
    if "config.json" in names:
        return bool(
            weights
            or INDEX in names
            or names & TOKENIZER_FILES
            or any(name.endswith(_OTHER_WEIGHTS) for name in names - _NO_WEIGHTS)
        )
    own = INDEX in names or any(name.startswith("model") for name in weights)
    return own and bool(names & TOKENIZER_FILES or INDEX in names)


def _is_passed_over(name: str) -> bool:
    return name[0] == "." or name in _SKIPPED or name.startswith(_OTHER_REPOSITORIES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _is_module(folder: str) -> bool:
    return _MODULE.fullmatch(os.path.basename(folder)) is not None and os.path.isfile(
        os.path.join(os.path.dirname(folder), "modules.json")
    )
