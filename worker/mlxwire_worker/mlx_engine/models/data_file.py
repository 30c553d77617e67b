"""A file that a command writes or reads, reached through the descriptor of its folder.

Between the check of a path and its use, somebody may put a link in place of a part of the path. So
below a root every folder is opened through the one above it, no link is followed, and a new file is
created only where there is none.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from mlxwire_protocol import WireError, invalid_params

from ...requests.surroundings import lacking

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC


class DataFile:
    """A file by its resolved path, which lies below ``root``; without a root it may lie anywhere."""

    def __init__(self, path: Path, root: Path | None) -> None:
        self.path = path
        self._root = root

    @contextmanager
    def reading(self) -> Iterator[BufferedReader]:
        """Open the file. Raises: WireError ``invalid_params`` if it is no regular file; OSError."""
        with self._folder() as folder, self._opened(folder) as file:
            yield file

    @contextmanager
    def replacing(self, may_replace: Callable[[BufferedReader], bool]) -> Iterator[BinaryIO]:
        """Yield a new file, which replaces this one at the end of the block unless that raises.

        Missing folders are created. A reader sees the old file or the new one, and only this user
        may read the new one. If there is a file already, ``may_replace`` decides about it. Raises:
        WireError ``invalid_params`` for field ``path``, or ``unavailable`` for a full disk, say.
        """
        try:
            with self._folder(create=True) as folder:
                self._refuse_foreign(folder, may_replace)
                with self._new_file(folder) as file:
                    yield file
        except OSError as error:
            where = str(self.path.parent)
            if lack := lacking(error, f"{str(self.path)!r} can't be written", folder=where):
                raise lack from None
            raise invalid_params(
                "path",
                f"{str(self.path)!r} can't be written ({error.strerror}); give a file in a folder "
                "that the worker can write to",
            ) from None

    @contextmanager
    def _new_file(self, folder: int) -> Iterator[BinaryIO]:
        partial = f".mlxwire-{secrets.token_hex(8)}.partial"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE
        number = os.open(partial, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(number, "wb") as file:
                yield file
                file.flush()
                os.fsync(number)
            os.rename(partial, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            raise

    @contextmanager
    def _folder(self, *, create: bool = False) -> Iterator[int]:
        """Yield the descriptor of the file's folder. Raises: OSError."""
        if self._root is None:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.path.parent, _FOLDER)
        else:
            folder = _descend(self._root, self.path.parent, create=create)
        try:
            yield folder
        finally:
            os.close(folder)

    def _opened(self, folder: int) -> BufferedReader:
        """Open the file to read it. Pipes and devices are refused: opening a pipe blocks.

        Raises: WireError ``invalid_params``; OSError.
        """
        number = os.open(self.path.name, os.O_RDONLY | os.O_NONBLOCK | _FILE, dir_fd=folder)
        if stat.S_ISREG(os.fstat(number).st_mode):
            return os.fdopen(number, "rb")
        os.close(number)
        raise invalid_params(
            "path", f"{str(self.path)!r} is not a regular file; name another file"
        )

    def _refuse_foreign(
        self, folder: int, may_replace: Callable[[BufferedReader], bool]
    ) -> None:
        try:
            with self._opened(folder) as file:
                replaceable = may_replace(file)
        except FileNotFoundError:
            return
        if not replaceable:
            raise _foreign(self.path)


def _foreign(path: Path) -> WireError:
    return invalid_params(
        "path",
        f"{str(path)!r} exists, and is no file that this command writes; name another file, or one "
        "that this command has saved",
    )


def _descend(root: Path, folder: Path, *, create: bool) -> int:
    """Open a folder below a root, part by part and without following a link. Raises: OSError."""
    number = os.open(root, _FOLDER)
    try:
        for part in folder.relative_to(root).parts:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=number)
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=number)
            os.close(number)
            number = below
    except BaseException:
        os.close(number)
        raise
    return number
