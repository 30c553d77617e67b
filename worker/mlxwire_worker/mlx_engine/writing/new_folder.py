"""Makes a new folder that appears whole or not at all, whenever the process ends.

Theory of operation. The files are written to a folder beside the new one, which is renamed at the
end, after all of it is on the disk. A kill leaves that folder behind: its name begins with the new
one's, and the next run for the same name removes it. A lock tells one that is still written to.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlxwire_protocol import WireError, invalid_params

from ...process.durable import sync
from ...requests.surroundings import lacking
from ..models.model_files import failed, quoted

_ENDING = ".partial"


def new_place(name: str | Path, *sources: Path) -> Path:
    """Return the absolute path of a folder to write, as the option ``out`` names it.

    Raises: WireError ``invalid_params`` for one that exists, that lies in one of the folders it is
    made from, or that no folder can be named.
    """
    try:
        out = Path(name).expanduser().absolute()
        place, taken = out.resolve(), out.exists() or out.is_symlink()
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise invalid_params(
            "out",
            f"`out`, {str(name)[:200]!r}, is no path of a folder ({why}); name a new folder",
        ) from None
    for source in (source.resolve() for source in sources):
        if place == source:
            raise invalid_params(
                "out", f"`out` is the model itself, {str(out)!r}; name a new folder"
            )
        if place.is_relative_to(source):
            raise invalid_params(
                "out",
                f"`out`, {str(out)!r}, lies in the folder {str(source)!r}, which it is made from; name a "
                "folder outside of it",
            )
    if taken:
        raise invalid_params(
            "out", f"{str(out)!r} exists; name a folder that does not exist yet"
        )
    return out


def check_room(out: Path, size: int, doing: str) -> None:
    """Refuse to write ``size`` bytes to a disk with less room. Raises: WireError ``unavailable``."""
    place = _nearest(out.parent)
    with suppress(OSError):  # a file system that can't tell
        free = shutil.disk_usage(place).free
        if size > free:
            raise WireError(
                "unavailable",
                f"{doing} takes {size} bytes, but the disk of {str(place)!r} has {free} bytes left; free "
                "some room, or name a folder on another disk",
                retryable=False,
                data={"field": "out", "needed": size, "free": free},
            )


@contextmanager
def new_folder(out: Path, doing: str) -> Iterator[Path]:
    """Yield a folder beside ``out`` that becomes ``out`` at the end, and is removed on an error.

    ``doing`` says in errors what can't be written, such as "the fused model". Raises: WireError
    ``invalid_params`` or ``unavailable``.
    """
    made: list[Path] = []
    partial = out.parent / f".{out.name}-{secrets.token_hex(8)}{_ENDING}"
    try:
        made += _make(out.parent)
        _remove_left_over(out)
        partial.mkdir()
        with _locked(partial):
            yield partial
            for file in (*sorted(partial.rglob("*")), partial):
                sync(file)
            if out.exists() or out.is_symlink():  # `rename` would replace an empty folder
                raise FileExistsError(17, f"{out.name} was created meanwhile")
            partial.rename(out)
        sync(out.parent)
        made.clear()
    except (OSError, RuntimeError) as error:  # the latter is MLX's, for what it can't write
        raise _unwritten(error, out, doing) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):  # another program uses it by now
                folder.rmdir()


def _make(folder: Path) -> list[Path]:
    """Create a folder and those above it; return the new ones, the highest first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest above it that exists."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process; a file system may have none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_left_over(out: Path) -> None:
    """Remove what killed runs for the same folder have left, and nothing that is written to."""
    for left in out.parent.iterdir():
        rest = left.name.removeprefix(f".{out.name}-").removesuffix(_ENDING)
        named = len(rest) == 16 and left.name == f".{out.name}-{rest}{_ENDING}"
        if not named or left.is_symlink() or not left.is_dir():
            continue
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _unwritten(error: Exception, out: Path, doing: str) -> WireError:
    told = f"{doing} can't be written to {str(out)!r}"
    if lack := lacking(error, told, folder=str(out.parent)):
        return lack
    if isinstance(error, OSError):
        why = error.strerror or error
        return invalid_params("out", f"{told} ({why}); name another folder")
    return failed(
        "write", f"{told} ({quoted(error)}); check the room on the disk, and try again"
    )
