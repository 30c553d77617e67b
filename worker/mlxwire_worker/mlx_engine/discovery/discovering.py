"""Finds the models of one request, and describes each, or says why a load would refuse it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import TracebackType

from mlxwire_protocol import WireError

from ...folders import FoundFolder
from ...requests.failures import failure_of
from ..encoders.families import is_encoder
from ..models.model_files import is_text, unreadable_folder
from ..models.paths import PathPolicy
from ..models.preflight import check_folder
from .beside import Adapters
from .describing import correct, describe
from .expected_dtype import Machine
from .finding import FoundPlace, Walk
from .full_check import FullCheck
from .hub_cache import cache_folder
from .proportions import check_proportions

Found = Generator[FoundFolder | None]


class Discovery:
    """Context manager for one discovery. No folder is listed twice.

    The iterators yield None between folders that are listed, so that their reader notices a cancel.
    """

    def __init__(self, policy: PathPolicy, machine: Machine, *, full: bool) -> None:
        self._policy = policy
        self._machine = machine
        self._full = FullCheck() if full else None
        self._walk = Walk(policy.allows)
        self._adapters = Adapters()

    def __enter__(self) -> Discovery:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._full is not None:
            self._full.close()

    def folders(self, paths: list[str]) -> Found:
        """Yield the models in folders, and an error for each path that can't be searched."""
        for name in paths:
            try:
                folder = self._policy.folder(name)
            except WireError as error:
                path = str(Path(name).absolute())
                yield FoundFolder(path, Path(path).name, error=error)
                continue
            yield from self._below(folder)

    def hub_cache(self) -> Found:
        """Yield the models in the hub's local cache, if there is one that may be read."""
        folder = cache_folder()
        if folder.is_dir() and self._policy.allows(folder):
            yield from self._below(folder.resolve())

    def _below(self, folder: Path) -> Found:
        for place in self._walk.below(folder):
            if place is None or not self._is_listed(place.path):
                yield None
            else:
                yield from self._listed(place)

    def _is_listed(self, path: Path) -> bool:
        """Return False for a folder that no load could name: outside the roots, or not in UTF-8."""
        return is_text(str(path)) and self._policy.allows(path)

    def _listed(self, place: FoundPlace) -> Found:
        try:
            self._policy.check_entries(place.path)
            checked = check_folder(place.path)
            if self._full is None:
                if not is_encoder(checked.config):
                    check_proportions(checked.config, checked.tensors)
                described = describe(checked, self._machine, self._adapters)
            else:
                info = yield from self._full.check(place.path)
                described = describe(checked, self._machine, self._adapters)
                correct(described, info)
        except WireError as error:
            yield FoundFolder(str(place.path), place.name, error=error)
            return
        except OSError as error:
            unreadable = unreadable_folder(place.path, error)
            yield FoundFolder(str(place.path), place.name, error=unreadable)
            return
        except Exception as error:  # a folder that nobody thought of hides no other
            yield FoundFolder(str(place.path), place.name, error=failure_of(error))
            return
        if place.snapshot is not None:
            described["repository"] = place.snapshot.repository
            described["revision"] = place.snapshot.revision
        yield FoundFolder(str(place.path), place.name, described)
