"""Finds a folder that only this user can write to, for libraries that will be loaded again."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def private_folder() -> Path | None:
    """Return a folder of this user with mode 0700, which is created if need be.

    It lies in the user's cache folder, or else in the folder for temporary files. A folder that
    belongs to somebody else, that others can write to, or that is a link, is not used: who can write
    there could have this process load a library. Returns None if there is no such folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    temporary = Path(os.environ.get("TMPDIR") or "/tmp") / f"mlxwire-{os.geteuid()}"
    for folder in (Path(cache) / "mlxwire", temporary):
        if folder.is_absolute() and _make_private(folder):
            return folder
    return None


def _make_private(folder: Path) -> bool:
    """Create the folder if it is missing; return True if nobody else can write to it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.is_symlink():
            folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    private = found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and private and os.access(folder, os.W_OK)
