"""A worker, blocking, and the thread that its asyncio client runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self, Unpack

from mlxwire_protocol.replies import CancelResult, HelloResult, MemoryResult, WorkerMetrics

from .. import worker as aio_worker
from ..errors import ShuttingDown
from ..loop_thread import LoopThread
from ..options import LoadOptions, MemoryOptions, OnProgress, Path, WorkerOptions
from .model import Model


class Worker:
    """As `mlxwire.Worker`, blocking, with the same arguments: ``with sync.Worker() as w``.

    Its callbacks run on the background thread. It may be used from several threads.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        self._worker = aio_worker.Worker(command, **options)
        self._thread: LoopThread | None = None

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

    def start(self) -> Self:
        """Spawn it and shake hands. Raises: as `mlxwire.Worker.start`."""
        if self._thread is not None:
            raise RuntimeError("this worker was started before; make a new Worker for another")
        self._thread = LoopThread()
        try:
            self._thread.call(self._worker.start())
        except BaseException:
            self.close()
            raise
        return self

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

    def close(self) -> None:
        """End the worker and the thread. Safe to call again."""
        thread = self._thread
        if thread is None:
            return
        try:
            with contextlib.suppress(ShuttingDown):  # closed before
                thread.call(self._worker.close())
        finally:
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> LoopThread:
        if self._thread is None:
            raise aio_worker.not_started()
        return self._thread
