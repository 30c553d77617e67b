"""Several workers behind one object, blocking."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Unpack

from ..options import LoadOptions, OnProgress, Path
from ..pool import pool as aio_pool
from ..restart.supervisor import PoolOptions
from .model import Model
from .owner import ThreadOwner


class Pool(ThreadOwner):
    """As `mlxwire.Pool`, blocking, with the same arguments: ``with sync.Pool() as pool``.

    Its callbacks run on the background thread. It may be used from several threads.
    """

    def __init__(
        self, command: str | Sequence[str] | None = None, **options: Unpack[PoolOptions]
    ) -> None:
        self._pool = aio_pool.Pool(command, **options)
        super().__init__(self._pool)

    @property
    def workers(self) -> list[aio_pool.PoolWorker]:
        """All workers, running or not."""
        return self._pool.workers

    def metrics(self, *, timeout: float | None = None) -> aio_pool.PoolMetrics:
        """As `mlxwire.Pool.metrics`."""
        return self._started().call(self._pool.metrics(timeout=timeout))

    def memory(self, *, timeout: float | None = None) -> aio_pool.PoolMemory:
        """As `mlxwire.Pool.memory`."""
        return self._started().call(self._pool.memory(timeout=timeout))

    def load(
        self,
        path: Path,
        *,
        workers: int = 1,
        on_demand: bool = False,
        weight_bytes: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """A model for so many workers of its own."""
        thread = self._started()
        load = self._pool.load(
            path,
            workers=workers,
            on_demand=on_demand,
            weight_bytes=weight_bytes,
            timeout=timeout,
            on_progress=on_progress,
            **options,
        )
        return Model(thread, thread.call(load))

    def restart(self, *, drain: float = 30.0) -> None:
        """Start every running worker anew, one after the other."""
        self._started().call(self._pool.restart(drain=drain))

    def _begin(self) -> Coroutine[Any, Any, object]:
        return self._pool.__aenter__()
