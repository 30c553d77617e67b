"""Several workers behind one object, blocking."""

# Written by generate_sync.py from mlxwire/pool/pool.py: change that file, then run the script.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from ..options import LoadOptions, OnProgress, Path, ProcessOptions
from ..pool.pool import USUAL_POLICY, PoolMemory, PoolMetrics, PoolWorker
from ..pool.pool import Pool as AsyncPool
from ..restart.policy import RestartPolicy, WorkerChange
from .base import ThreadOwner
from .model import Model


class Pool(ThreadOwner[AsyncPool]):
    """Workers for any number of models: ``with mlxwire.sync.Pool() as pool``.

    byte_budget: bytes that the weights of all loaded models may take together. When a model
        needs room, the model that was unused for longest is ended first. None: no limit.
    patience: seconds that a request waits for busy models to make room.

    ``command`` and the other options hold for each worker, as `Worker` explains them. A worker
    of a pool is always started again after a crash, as ``restart`` says.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        byte_budget: int | None = None,
        patience: float = 30.0,
        restart: RestartPolicy = USUAL_POLICY,
        unload_after: float | None = None,
        on_change: Callable[[WorkerChange], object] | None = None,
        **options: Unpack[ProcessOptions],
    ) -> None:
        super().__init__(
            AsyncPool(
                command,
                byte_budget=byte_budget,
                patience=patience,
                restart=restart,
                unload_after=unload_after,
                on_change=on_change,
                **options,
            )
        )

    @property
    def workers(self) -> list[PoolWorker]:
        """All workers, whether they run or not."""
        return self._aio.workers

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
        """Load a model into ``workers`` workers of its own, as many as there is room for now.

        on_demand: start each worker only when a request needs it. weight_bytes: the size of the
        model until a load reports it; default: the size of the weights in its folder. The other
        arguments are those of `Worker.load`. Closing the model ends its workers.

        Raises: OutOfMemory, Overloaded, and the errors of `Worker.start` and `Worker.load`.
        """
        return Model(
            self._thread,
            self._thread.call(
                self._aio.load(
                    path,
                    workers=workers,
                    on_demand=on_demand,
                    weight_bytes=weight_bytes,
                    timeout=timeout,
                    on_progress=on_progress,
                    **options,
                )
            ),
        )

    def metrics(self, *, timeout: float | None = None) -> PoolMetrics:
        """Ask each running worker for its metrics, and return the sums too.

        This starts no worker, and does not count as use for ``unload_after``.
        """
        return self._thread.call(self._aio.metrics(timeout=timeout))

    def memory(self, *, timeout: float | None = None) -> PoolMemory:
        """Ask each running worker for the memory in use, as `metrics` does.

        Limits to memory are options of `load`.
        """
        return self._thread.call(self._aio.memory(timeout=timeout))

    def restart(self, *, drain: float = 30.0) -> None:
        """Restart every running worker, one after the other; the others serve meanwhile.

        Requests of a worker have ``drain`` seconds to end. Raises: the error of a start that
        failed; the workers after that one are not restarted.
        """
        self._thread.call(self._aio.restart(drain=drain))
