"""The requests about models on disk, blocking."""

# Written by generate_sync.py from mlxwire/folders/folder_requests.py: change that file, then run the script.

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from mlxwire_protocol.models.replies import FitResult

from ..folders.fitting import FitOptions
from ..options import Path
from ..worker import Worker as AsyncWorker
from .base import ThreadOwner
from .stream import DiscoverStream


class FolderRequests(ThreadOwner[AsyncWorker]):
    """The base of `Worker`: its requests about models on disk."""

    def discover(
        self,
        paths: Path | Sequence[Path] = (),
        *,
        hub_cache: bool | None = None,
        check: Literal["headers", "full"] | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> DiscoverStream:
        """Find the models below folders, and in the hub's local cache; none is loaded.

        ``hub_cache`` left out is True without ``paths``. ``check``: read each folder's JSON files and
        the headers of its weights (``"headers"``, the default), or all that `load` would refuse
        (``"full"``). Sent as `Model.generate` is. Raises: InvalidParams.
        """
        return DiscoverStream(
            self._thread,
            self._aio.discover(
                paths,
                hub_cache=hub_cache,
                check=check,
                deadline_seconds=deadline_seconds,
                timeout=timeout,
                idle_timeout=idle_timeout,
            ),
        )

    def fit(
        self,
        path: Path | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[FitOptions],
    ) -> FitResult:
        """Predict the memory that a model in a folder needs, without loading it; in bytes.

        ``path`` left out is the loaded model. Raises: ModelNotFound, ModelLoadFailed,
        UnsupportedModel, and ModelNotLoaded if there is neither.
        """
        return self._thread.call(self._aio.fit(path, timeout=timeout, **options))
