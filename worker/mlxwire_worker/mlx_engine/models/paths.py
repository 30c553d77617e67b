"""Decides which paths requests may name: folders below the host's roots, or hub names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxwire_protocol import WireError, invalid_params

from ...process.data_roots import DataRoots
from ..discovery.hub_cache import HUB_NAME, find_snapshot
from .data_file import DataFile
from .model_files import check_folder_exists, failed


class PathPolicy:
    """Holds the folders that the host has opened for reading and writing.

    They come from the worker's command line; no request can change them. Without ``roots`` any
    folder may be read, without ``data_roots`` any file written.
    """

    def __init__(
        self, roots: tuple[str, ...], data_roots: tuple[str, ...], *, allow_hub: bool
    ) -> None:
        self._roots = tuple(Path(root).resolve() for root in roots)
        self.data_roots = DataRoots(data_roots)
        self._allow_hub = allow_hub

    def model(self, name: str, *, of_worker: bool = True) -> Path:
        """Return the folder for the ``path`` of a `load`; fetch a hub name if that is allowed.

        ``of_worker``: False in a program that has no option to fetch one.

        Raises: WireError ``model_not_found``.
        """
        if not HUB_NAME.fullmatch(name) or _exists(name):
            return self._local(name, "path")
        snapshot = find_snapshot(name)
        if snapshot is not None and not self._allow_hub:
            return self._local(str(snapshot), "path")
        if self._allow_hub:
            self._local(name, "path")
            return self._fetch(name)
        fetching = ". A worker that is started with --allow-hub downloads it itself"
        raise WireError(
            "model_not_found",
            f"there is no folder {name!r}, and the hub's local cache has no model of this name; "
            f"give the path of a local model folder, or run: mlxwire pull {name}"
            f"{fetching if of_worker else ''}",
            data={"path": name},
        )

    def folder(self, name: str) -> Path:
        """Return a folder in which models are looked for.

        Raises: WireError ``model_not_found`` or ``model_load_failed``.
        """
        path = self._resolved(name, "paths")
        check_folder_exists(path)
        if not os.access(path, os.R_OK | os.X_OK):
            raise failed(
                "unreadable",
                f"{str(path)!r} can't be read; correct its permissions, or give another folder",
            )
        return path

    def allows(self, path: Path) -> bool:
        """Return True if a folder is below one of the roots, or there are none."""
        if not self._roots:
            return True
        resolved = path.resolve()
        return any(resolved.is_relative_to(root) for root in self._roots)

    def check_entries(self, folder: Path) -> None:
        """Check that what a folder's links lead to is below the roots.

        Raises: WireError ``model_not_found``.
        """
        if self._roots:
            self._local(str(folder), "path")

    def adapter(self, name: str, *, field: str = "adapter_path") -> Path:
        """Return an adapter's folder, which is always local; ``field`` is its name in errors.

        Raises: WireError ``model_not_found``.
        """
        return self._local(name, field)

    def output(self, name: str) -> DataFile:
        """Return a file that a command may write or read back.

        Raises: WireError ``invalid_params``.
        """
        path, root = self.data_roots.place(name)
        if not path.name or path == root:
            raise invalid_params("path", f"{str(path)!r} is a folder; give the path of a file")
        return DataFile(path, root)

    @contextmanager
    def unchanged(self, *folders: Path | None) -> Iterator[None]:
        """Check again at entry, and at exit that no file of the folders changed inside the block.

        So the files that are loaded are those that were checked. Folders that are None are
        ignored. Raises: WireError ``model_not_found`` or ``model_load_failed``.
        """
        present = [folder for folder in folders if folder is not None and folder.is_dir()]
        before = [_state(folder) for folder in present]
        for folder in present:
            self._check_again(folder)
        yield
        for folder, state in zip(present, before, strict=True):
            if _state(folder) != state:
                raise WireError(
                    "model_load_failed",
                    f"{folder.name} was changed while it was read; load it again when no program "
                    "writes to it",
                    data={"reason": "changed"},
                )

    def _check_again(self, folder: Path) -> None:
        """Resolve a folder again: it could have been replaced by a link since its check."""
        if any(folder.is_relative_to(root) for root in self._roots):
            for entry in (folder, *folder.iterdir()):
                self._check(entry.resolve(), "path")

    def _local(self, name: str, field: str) -> Path:
        path = self._resolved(name, field)
        if self._roots:
            for entry in self._entries(path, field):
                self._check(entry.resolve(), field)
        return path

    def _entries(self, path: Path, field: str) -> list[Path]:
        try:
            return list(path.iterdir()) if path.is_dir() else []
        except OSError as error:
            raise _no_path(str(path), field, error) from None

    def _resolved(self, name: str, field: str) -> Path:
        try:
            path = Path(name).expanduser().resolve()
            self._check(path, field)
            path.exists()  # raises if no file can have such a name
        except (OSError, ValueError, RuntimeError) as error:
            raise _no_path(name, field, error) from None
        return path

    def _check(self, path: Path, field: str) -> None:
        if not self.allows(path):
            raise WireError(
                "model_not_found",
                f"{str(path)!r} is outside the folders that the host opened with --model-root; "
                "give a path below one of them",
                data={"field": field},
            )

    def _fetch(self, name: str) -> Path:
        from ..mlx_patches.light_import import import_mlx_lm

        import_mlx_lm()
        from mlx_lm.utils import _download

        try:
            return Path(_download(name))
        except Exception as error:  # the hub's client raises dozens of exception classes
            raise WireError(
                "model_not_found",
                f"{name!r} could not be fetched from the hub ({type(error).__name__}: {error}); "
                "check the name and the network, or give the path of a local model folder",
                data={"path": name},
            ) from None


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _no_path(name: str, field: str, error: Exception) -> WireError:
    detail = error.strerror if isinstance(error, OSError) else error
    return WireError(
        "model_not_found",
        f"{name[:200]!r} is not the path of a folder ({detail}); give the path of a local "
        "model or adapter folder",
        data={"field": field},
    )


def _state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return device, inode, size and times of a folder and its files, links followed."""
    found: dict[str, tuple[int, ...]] = {}
    for entry in (folder, *folder.iterdir()):
        try:
            status = os.stat(entry)
        except OSError:  # a broken link
            continue
        found[entry.name] = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
    return found
