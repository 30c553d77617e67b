"""Reads the local cache of a model hub, as huggingface_hub writes it, without that library.

A repository is a folder ``models--ORG--NAME`` with ``refs/BRANCH``, which names a revision, and
``snapshots/REVISION``, whose files are links into ``blobs``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_REPOSITORY = re.compile(r"models--(.+)")
SNAPSHOTS, _REFS, _BRANCH = "snapshots", "refs", "main"
_LONGEST_REVISION = 256


class Snapshot(NamedTuple):
    """One revision of a repository: its folder, the repository's name, and the revision."""

    path: Path
    repository: str
    revision: str


def cache_folder() -> Path:
    """Return the folder of the hub's cache, which may not exist, by the environment."""
    for variable, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
    ):
        if value := os.environ.get(variable):
            return Path(os.path.expandvars(value)).expanduser().absolute() / below
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(caches)).expanduser().absolute() / "huggingface" / "hub"


def is_repository(folder: str) -> bool:
    """Return True if a folder is a repository of models in a hub's cache."""
    name = os.path.basename(folder)
    return _REPOSITORY.fullmatch(name) is not None and os.path.isdir(
        os.path.join(folder, SNAPSHOTS)
    )


def repository_name(folder: str) -> str:
    """Return the name of a repository by its folder: ORG/NAME."""
    found = _REPOSITORY.fullmatch(os.path.basename(folder))
    return (found[1] if found else os.path.basename(folder)).replace("--", "/", 1)


def snapshot_of(folder: str) -> Snapshot | None:
    """Return the revision of a repository that `main` names, else the newest; None without any."""
    snapshots = Path(folder, SNAPSHOTS)
    named = _named_revision(os.path.join(folder, _REFS, _BRANCH))
    if named and os.path.isdir(snapshots / named):
        return Snapshot(snapshots / named, repository_name(folder), named)
    try:
        found = [
            (entry.stat().st_mtime_ns, entry.name)
            for entry in os.scandir(snapshots)
            if entry.is_dir() and not entry.name.startswith(".")
        ]
    except OSError:
        return None
    if not found:
        return None
    revision = max(found)[1]
    return Snapshot(snapshots / revision, repository_name(folder), revision)


def _named_revision(file: str) -> str:
    """Return the revision that a file of ``refs`` names; "" if the file names no revision."""
    if not os.path.isfile(file):  # opening a pipe would wait for its writer
        return ""
    try:
        with open(file, encoding="utf-8") as opened:
            named = opened.read(_LONGEST_REVISION + 1).strip()
    except (OSError, ValueError):
        return ""
    return "" if named in (".", "..") or named != os.path.basename(named) else named


def snapshot_at(folder: Path) -> Snapshot | None:
    """Return what a folder is if it lies in a repository's ``snapshots``; None for another."""
    repository = folder.parent.parent
    if folder.parent.name != SNAPSHOTS or not is_repository(str(repository)):
        return None
    return Snapshot(folder, repository_name(str(repository)), folder.name)


def find_snapshot(name: str) -> Path | None:
    """Return the local folder of a hub name, as ORG/NAME; None if the cache has none."""
    if not HUB_NAME.fullmatch(name) or ".." in name:
        return None
    cache = cache_folder()
    folder = cache / f"models--{name.replace('/', '--')}"
    found = snapshot_of(str(folder)) if is_repository(str(folder)) else None
    return None if found is None else found.path
