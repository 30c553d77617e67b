"""Decides which files and folders of data a request may name: those below the host's data roots.

The roots come from the worker's command line (`--data-root`); no request can change them. Without
roots any path may be named.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlxwire_protocol import invalid_params


class DataRoots:
    """The folders below which commands read data and write results."""

    def __init__(self, roots: tuple[str, ...] = ()) -> None:
        self._roots = tuple(Path(root).resolve() for root in roots)

    def place(self, name: str, *, field: str = "path") -> tuple[Path, Path | None]:
        """Return the resolved path of a name, and the root that it lies below; None without roots.

        Raises: WireError ``invalid_params`` for ``field``.
        """
        try:
            path = Path(name).expanduser().resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise invalid_params(
                field, f"{name[:200]!r} is not a valid path: {error}; give another path"
            ) from None
        return path, self._root_of(path, field)

    def readable(self, name: str, *, field: str) -> Path:
        """Return a file, or a folder with its files, that a command may read.

        Raises: WireError ``invalid_params`` for ``field``.
        """
        path, root = self.place(name, field=field)
        try:
            inner = list(path.iterdir()) if path.is_dir() else []
            if not inner and not path.exists():
                raise FileNotFoundError(0, "there is no such file or folder")
            if not inner and not path.is_dir() and not path.is_file():
                raise OSError(0, "it is neither a file nor a folder")
            with open(path, "rb") if path.is_file() else os.scandir(path):
                pass
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            raise invalid_params(
                field,
                f"{name[:200]!r} can't be read ({told}); give the path of a JSONL file, or of a "
                "folder that has one",
            ) from None
        if root is not None:
            for entry in inner:
                self._root_of(entry.resolve(), field)
        return path

    def folder(self, name: str, *, field: str) -> Path:
        """Return a folder that a command may create and write to.

        Raises: WireError ``invalid_params`` for ``field``.
        """
        path, root = self.place(name, field=field)
        if path == root or path == path.parent:
            raise invalid_params(
                field, f"{str(path)!r} holds other things; give the path of a folder below it"
            )
        try:
            if path.exists() and not path.is_dir():
                raise invalid_params(
                    field, f"{str(path)!r} is a file; give the path of a folder, or of none yet"
                )
            inner = list(path.iterdir()) if path.is_dir() else []
        except OSError as error:
            raise invalid_params(
                field,
                f"{str(path)!r} can't be looked into ({error.strerror}); give the path of a folder "
                "that the worker can write to",
            ) from None
        if root is not None:
            for entry in inner:
                self._root_of(entry.resolve(), field)
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise invalid_params(
                field,
                f"{str(path)!r} can't be written, since {str(existing)!r} is no folder that the "
                "worker can write to; give another folder",
            )
        return path

    def _root_of(self, path: Path, field: str) -> Path | None:
        if not self._roots or path in self._roots:
            return path if self._roots else None
        for root in self._roots:
            if path.is_relative_to(root):
                return root
        raise invalid_params(
            field,
            f"{str(path)!r} is outside the folders that the host opened with --data-root; "
            "give a path below one of them",
        )


def same_folder(one: Path, other: str | os.PathLike[str]) -> bool:
    """Return True if two paths name the same folder, which need not exist."""
    try:
        return one == Path(other).resolve() or os.path.samefile(one, other)
    except OSError:
        return False
