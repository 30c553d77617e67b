"""A worker, blocking."""

# Written by generate_sync.py from mlxwire/worker.py: change that file, then run the script.

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Unpack

from mlxwire_protocol.replies import Event
from mlxwire_protocol.results import CancelResult, HelloResult, MemoryResult, WorkerMetrics

from ..connection.child import WorkerState
from ..connection.liveness import LivenessLimits
from ..options import LoadOptions, MemoryOptions, OnProgress, Path
from ..process.shutdown import ShutdownLimits
from ..requests.route import DEFAULT_BUFFER_BYTES
from ..restart.policy import RestartPolicy, WorkerChange
from ..worker import Worker as AsyncWorker
from .folder_requests import FolderRequests
from .model import Model


class Worker(FolderRequests):
    """A language-model worker in a child process: ``with mlxwire.sync.Worker() as worker``.

    command: the worker's program; default as `find_worker` finds it. ``args`` follow it.
    engine: ``"mlx"`` or ``"mock"``, passed on as ``--engine``.
    env: variables beside the host's own. cwd: the folder where relative paths begin.
    start_timeout: seconds for the answer to hello.
    request_timeout: seconds for each request without a ``timeout`` of its own, except `load`.
    idle_timeout: seconds that a stream's consumer waits without a message, likewise. 0: no limit.
    on_stderr: called with each line that the worker logs.
    require: capabilities that the worker must have.
    events: names of events that the worker shall send. on_event: called with each of these.
    liveness: how long the worker may hang before it is ended. None: for ever. ``"auto"``:
        `LivenessLimits()` with ``restart``, else None. Needs a worker with heartbeats.
    shutdown: limits of the steps that end the process.
    drain_timeout: seconds that the worker has to end a cancelled request.
    buffer_bytes: memory that a stream may hold for a slow consumer.
    restart: start another process when this one dies, and load its model again. None: never.
    unload_after: seconds without use after which the process is ended (0: never); the next
        request starts another. on_change: called with each `WorkerChange`. Both need ``restart``.

    Without ``restart`` a worker is started once, and its end is final. With it, a crash fails
    only the requests in flight; later requests wait for the next process, models stay valid, and
    no request is sent twice. ``error.retryable`` tells whether asking again makes sense: not once
    the worker was given up, until `restart`.

    Callbacks run on a background thread. Any thread may use the worker.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        engine: Literal["mlx", "mock"] | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
        request_timeout: float | None = None,
        idle_timeout: float | None = None,
        on_stderr: Callable[[str], object] | None = None,
        shutdown: ShutdownLimits | None = None,
        require: Sequence[str] = (),
        liveness: LivenessLimits | Literal["auto"] | None = "auto",
        events: Sequence[str] = (),
        on_event: Callable[[Event], object] | None = None,
        drain_timeout: float = 5.0,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        restart: RestartPolicy | None = None,
        unload_after: float | None = None,
        on_change: Callable[[WorkerChange], object] | None = None,
    ) -> None:
        super().__init__(
            AsyncWorker(
                command,
                engine=engine,
                args=args,
                env=env,
                cwd=cwd,
                start_timeout=start_timeout,
                request_timeout=request_timeout,
                idle_timeout=idle_timeout,
                on_stderr=on_stderr,
                shutdown=shutdown,
                require=require,
                liveness=liveness,
                events=events,
                on_event=on_event,
                drain_timeout=drain_timeout,
                buffer_bytes=buffer_bytes,
                restart=restart,
                unload_after=unload_after,
                on_change=on_change,
            )
        )

    @property
    def state(self) -> WorkerState:
        """The state of the worker; ``failed`` is final without ``restart``, else a verdict."""
        return self._aio.state

    @property
    def hello(self) -> HelloResult:
        """The answer of the current process, or the last, in the handshake.

        It has the worker's identity, capabilities and limits. Raises: NotInitialized before it.
        """
        return self._aio.hello

    @property
    def pid(self) -> int | None:
        """The id of the current process, or the last; None before the first is spawned."""
        return self._aio.pid

    @property
    def returncode(self) -> int | None:
        """The return code of the last process, negative for a signal; None while it runs.

        It stays None if the host ignores SIGCHLD, or reaps its children itself.
        """
        return self._aio.returncode

    @property
    def stderr(self) -> str:
        """The end of what the current process, or the last, wrote to stderr: at most 64 KiB."""
        return self._aio.stderr

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on the process's stdout before the handshake that are no messages."""
        return self._aio.stray_lines

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply, or for a process to be restarted."""
        return self._aio.in_flight

    def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model's folder. The model loaded before is replaced, and its `Model` is void.

        If the load fails its checks, the model before stays. With ``restart`` it stays whatever
        the load failed with; and each later process loads the last model with the same options.

        Raises: ModelNotFound, ModelLoadFailed, UnsupportedModel, OutOfMemory, …
        """
        return Model(
            self._thread,
            self._thread.call(
                self._aio.load(path, timeout=timeout, on_progress=on_progress, **options)
            ),
        )

    def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Return sums over the life of the current process, and its state now."""
        return self._thread.call(self._aio.metrics(timeout=timeout))

    def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """Set the given memory limits, and return the memory in use; all in bytes.

        With ``restart`` the limits are set again in each later process. ``memory_limit`` and
        ``prompt_cache_limit`` belong to the loaded model, and end with it.
        """
        return self._thread.call(self._aio.memory(timeout=timeout, **limits))

    def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel the request with a stream's ``id``, or all requests in flight.

        Each cancelled request still ends by itself: the call that waits for it gets RequestCancelled.
        This call starts no process. Raises: NotInitialized before the first start.
        """
        return self._thread.call(self._aio.cancel(request_id, timeout=timeout))

    def stop(self) -> None:
        """End the process; the next request starts another. Requests in flight are cancelled.

        Raises: InvalidParams without ``restart``.
        """
        self._thread.call(self._aio.stop())

    def restart(self, *, drain: float = 30.0) -> None:
        """Start another process in place of the current one, or after the worker was given up.

        Requests in flight have ``drain`` seconds to end, and fail with WorkerCrashed then;
        requests that come meanwhile wait. Raises: as `start`, and InvalidParams without
        ``restart``.
        """
        self._thread.call(self._aio.restart(drain=drain))
