"""A worker that is started again when it dies, blocking."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Unpack

from mlxwire_protocol.results import CancelResult, HelloResult, MemoryResult, WorkerMetrics

from ..options import LoadOptions, MemoryOptions, OnProgress, Path
from ..restart import supervisor as aio_supervisor
from ..restart.worker_states import State
from .model import Model
from .owner import ThreadOwner


class Supervisor(ThreadOwner):
    """As `mlxwire.Supervisor`, blocking, with the same arguments.

    Its callbacks run on the background thread. It may be used from several threads.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        **options: Unpack[aio_supervisor.SupervisorOptions],
    ) -> None:
        self._supervisor = aio_supervisor.Supervisor(command, **options)
        super().__init__(self._supervisor)

    @property
    def state(self) -> State:
        """What is with the worker now; ``failed`` is a crash loop's verdict."""
        return self._supervisor.state

    @property
    def in_flight(self) -> int:
        """Requests whose final is due, and those that wait for a worker."""
        return self._supervisor.in_flight

    @property
    def hello(self) -> HelloResult:
        """What the worker of the moment said in the handshake."""
        return self._supervisor.hello

    @property
    def pid(self) -> int | None:
        """The process id of the worker of the moment, or the last."""
        return self._supervisor.pid

    @property
    def stderr(self) -> str:
        """The last that the worker of the moment, or the last, wrote to stderr."""
        return self._supervisor.stderr

    def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model now, and again after each restart."""
        thread = self._started()
        load = self._supervisor.load(path, timeout=timeout, on_progress=on_progress, **options)
        return Model(thread, thread.call(load))

    def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """The memory in use; first sets the limits given, now and after each restart."""
        return self._started().call(self._supervisor.memory(timeout=timeout, **limits))

    def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Of the worker of the moment, which is started if need be."""
        return self._started().call(self._supervisor.metrics(timeout=timeout))

    def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel one request by its stream's ``id``, or all in flight; starts no worker."""
        return self._started().call(self._supervisor.cancel(request_id, timeout=timeout))

    def stop(self) -> None:
        """End the worker; the next request starts it again."""
        self._started().call(self._supervisor.stop())

    def restart(self, *, drain: float = 30.0) -> None:
        """Start another worker in its place, or after a crash loop's verdict."""
        self._started().call(self._supervisor.restart(drain=drain))

    def _begin(self) -> Coroutine[Any, Any, object]:
        return self._supervisor.start()
