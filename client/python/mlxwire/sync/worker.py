"""A worker, blocking, and the thread that its asyncio client runs on."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Unpack

from mlxwire_protocol.results import CancelResult, HelloResult, MemoryResult, WorkerMetrics

from .. import worker as aio_worker
from ..options import LoadOptions, MemoryOptions, OnProgress, Path, WorkerOptions
from .model import Model
from .owner import ThreadOwner


class Worker(ThreadOwner):
    """As `mlxwire.Worker`, blocking, with the same arguments: ``with sync.Worker() as w``.

    Its callbacks run on the background thread. It may be used from several threads.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        self._worker = aio_worker.Worker(command, **options)
        super().__init__(self._worker)

    @property
    def hello(self) -> HelloResult:
        """What it said in the handshake."""
        return self._worker.hello

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._worker.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it has not."""
        return self._worker.returncode

    @property
    def stderr(self) -> str:
        """The last that it wrote to stderr."""
        return self._worker.stderr

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on its stdout before the handshake that are no messages."""
        return self._worker.stray_lines

    def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model folder; it replaces the one loaded before."""
        thread = self._started()
        load = self._worker.load(path, timeout=timeout, on_progress=on_progress, **options)
        return Model(thread, thread.call(load))

    def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Sums over the worker's life, and its state now."""
        return self._started().call(self._worker.metrics(timeout=timeout))

    def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """The memory in use; first sets the limits given. As `mlxwire.Worker.memory`."""
        return self._started().call(self._worker.memory(timeout=timeout, **limits))

    def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel one request by its stream's ``id``, or all in flight."""
        return self._started().call(self._worker.cancel(request_id, timeout=timeout))

    def _begin(self) -> Coroutine[Any, Any, object]:
        return self._worker.start()
