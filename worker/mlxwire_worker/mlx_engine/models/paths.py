"""Decides which paths requests may name: folders below the host's roots, or hub names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxwire_protocol import WireError, invalid_params

from .data_file import DataFile

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class PathPolicy:
    """Holds the folders that the host has opened for reading and writing.

    They come from the worker's command line; no request can change them. Without ``roots`` any
    folder may be read, without ``data_roots`` any file written.
    """

    def __init__(
        self, roots: tuple[str, ...], data_roots: tuple[str, ...], *, allow_hub: bool
    ) -> None:
        self._roots = tuple(Path(root).resolve() for root in roots)
        self._data_roots = tuple(Path(root).resolve() for root in data_roots)
        self._allow_hub = allow_hub

    def model(self, name: str) -> Path:
        """Return the folder for the ``path`` of a `load`; fetch a hub name if that is allowed.

        Raises: WireError ``model_not_found``.
        """
        path = self._local(name, "path")
        if path.exists() or not _HUB_NAME.fullmatch(name):
            return path
        if not self._allow_hub:
            raise WireError(
                "model_not_found",
                f"there is no folder {name!r}; give the path of a local model folder. To load a "
                "model by its hub name, start the worker with --allow-hub",
                data={"path": name},
            )
        return self._fetch(name)

    def adapter(self, name: str) -> Path:
        """Return an adapter's folder, which is always local.

        Raises: WireError ``model_not_found``.
        """
        return self._local(name, "adapter_path")

    def output(self, name: str) -> DataFile:
        """Return a file that a command may write or read back.

        Raises: WireError ``invalid_params``.
        """
        try:
            path = Path(name).expanduser().resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise invalid_params(
                "path", f"{name[:200]!r} is not a valid path: {error}; give the path of a file"
            ) from None
        above = [root for root in self._data_roots if path.is_relative_to(root)]
        if self._data_roots and not above:
            raise invalid_params(
                "path",
                f"{str(path)!r} is outside the folders that the host opened with --data-root; "
                "give a path below one of them",
            )
        if not path.name or path in self._data_roots:
            raise invalid_params("path", f"{str(path)!r} is a folder; give the path of a file")
        return DataFile(path, above[0] if above else None)

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
        try:
            path = Path(name).expanduser().resolve()
            self._check(path, field)
            path.exists()  # raises if no file can have such a name
            entries = list(path.iterdir()) if self._roots and path.is_dir() else []
        except (OSError, ValueError, RuntimeError) as error:
            detail = error.strerror if isinstance(error, OSError) else error
            raise WireError(
                "model_not_found",
                f"{name[:200]!r} is not the path of a folder ({detail}); give the path of a local "
                "model or adapter folder",
                data={"field": field},
            ) from None
        for entry in entries:
            self._check(entry.resolve(), field)
        return path

    def _check(self, path: Path, field: str) -> None:
        if self._roots and not any(path.is_relative_to(root) for root in self._roots):
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
