"""Finds a folder that only this user can write to, for libraries that will be loaded again."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ROOM_BYTES = 1 << 16
"""A folder must have room for so much: more than a compiled kernel or a shim takes."""
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")


class PrivateFolder(NamedTuple):
    """The folder, or None if there is none; ``refused`` says why those before it are not used."""

    path: Path | None
    refused: tuple[str, ...] = ()


def private_folder() -> PrivateFolder:
    """Find or create a folder of this user with mode 0700, from which libraries can be loaded.

    It lies in the user's cache folder, or else in a folder for temporary files. A folder that
    belongs to somebody else, that others can write to or replace, or that is a link, is not used:
    who can write there could have this process load a library. A folder that is full, read-only or
    mounted noexec is of no use either.
    """
    refused: list[str] = []
    for folder in _candidates():
        try:
            reason = _why_not(folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        if reason is None:
            return PrivateFolder(folder, tuple(refused))
        refused.append(f"{folder}: {reason}")
    return PrivateFolder(None, tuple(refused))


def _candidates() -> list[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    own = f"mlxwire-{os.geteuid()}"
    temporary = [os.environ.get("TMPDIR") or "", *_SHARED]
    folders = [Path(cache, "mlxwire"), *(Path(place, own) for place in temporary)]
    # A relative path would mean another folder in each process, and one of the working folder.
    return list(dict.fromkeys(folder for folder in folders if folder.is_absolute()))


def _why_not(folder: Path) -> str | None:
    """Create the folder if it is missing; return why it can't be used. Raises: OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_symlink():
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "it is a link or a file"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return "other users may enter it (its mode must be 0700)"
    if open_to_all := _replaceable(folder):
        return f"other users could replace it, because {open_to_all} is writable to all"
    if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
        return "it is mounted noexec, so no library can be loaded from it"
    return _no_room(folder)


def _replaceable(folder: Path) -> Path | None:
    """Return a folder above in which anybody may rename or remove what is not theirs."""
    for above in folder.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return above
    return None


def _no_room(folder: Path) -> str | None:
    """Return why a file can't be written to the folder. Raises: OSError."""
    trial = folder / f".trial-{os.getpid()}"
    trial.unlink(missing_ok=True)
    file = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        full = os.write(file, bytes(_ROOM_BYTES)) < _ROOM_BYTES
    finally:
        os.close(file)
        trial.unlink()
    return "there is no room left on its disk" if full else None
