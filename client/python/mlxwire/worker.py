"""The public `Worker`: a child process with one model in it, or a series of such processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, Unpack

from mlxwire_protocol.replies import Event
from mlxwire_protocol.results import (
    CancelResult,
    HelloResult,
    MemoryResult,
    WorkerMetrics,
)

from .connection.child import Child, ChildOptions, LoadCall, WorkerState
from .connection.liveness import LivenessLimits
from .errors import InvalidParams
from .folders.folder_requests import FolderRequests
from .model import Model
from .options import LoadOptions, MemoryOptions, OnProgress, Path, request_options, set_fields
from .process.checks import check_callback, check_kind, check_seconds, check_text, check_words
from .process.shutdown import ShutdownLimits
from .requests.pending import ask
from .requests.route import DEFAULT_BUFFER_BYTES, Connector, ModelRoute, RequestLimits
from .restart.policy import RestartPolicy, WorkerChange
from .restart.series import ChildSeries
from .results import convert_reply


class Worker(FolderRequests):
    """A language-model worker in a child process: ``async with mlxwire.Worker() as worker``.

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

    A worker belongs to the event loop that it was started on.
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
        check_words("args", args)
        check_text("engine", engine)
        check_kind("restart", restart, RestartPolicy)
        check_seconds("unload_after", unload_after)
        check_callback("on_change", on_change)
        if liveness == "auto":
            liveness = None if restart is None else LivenessLimits()
        options = ChildOptions(
            command=command,
            args=[*(("--engine", engine) if engine else ()), *args],
            env=env,
            cwd=cwd,
            start_timeout=start_timeout,
            limits=RequestLimits(
                request_timeout=request_timeout,
                idle_timeout=idle_timeout,
                drain=drain_timeout,
                buffer_bytes=buffer_bytes,
            ),
            on_stderr=on_stderr,
            shutdown=ShutdownLimits() if shutdown is None else shutdown,
            require=require,
            liveness=liveness,
            events=events,
            on_event=on_event,
        )
        self._life: Child | ChildSeries
        if restart is None:
            _refuse_without_restart(unload_after=unload_after, on_change=on_change)
            self._life = Child(options)
        else:
            self._life = ChildSeries(
                options, policy=restart, unload_after=unload_after or None, on_change=on_change
            )

    @property
    def state(self) -> WorkerState:
        """The state of the worker; ``failed`` is final without ``restart``, else a verdict."""
        return self._life.state

    @property
    def hello(self) -> HelloResult:
        """The answer of the current process, or the last, in the handshake.

        It has the worker's identity, capabilities and limits. Raises: NotInitialized before it.
        """
        return self._child.hello

    @property
    def pid(self) -> int | None:
        """The id of the current process, or the last; None before the first is spawned."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The return code of the last process, negative for a signal; None while it runs.

        It stays None if the host ignores SIGCHLD, or reaps its children itself.
        """
        return self._child.returncode

    @property
    def stderr(self) -> str:
        """The end of what the current process, or the last, wrote to stderr: at most 64 KiB."""
        return self._child.stderr

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on the process's stdout before the handshake that are no messages."""
        return self._child.stray_lines

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply, or for a process to be restarted."""
        return self._life.in_flight

    async def start(self) -> Self:
        """Spawn the process and shake hands, as ``async with`` does.

        A failed start leaves no process behind, and is not tried again. With ``restart``, this
        may be called again; otherwise a second call is a RuntimeError.

        Raises: SpawnFailed, HandshakeFailed (also if the program exits instead of answering),
        UnsupportedProtocol, UnsupportedCapability.
        """
        await self._life.start()
        return self

    async def load(
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
        request_options(options)
        check_seconds("timeout", timeout)
        check_callback("on_progress", on_progress)
        call = LoadCall(path=path, timeout=timeout, on_progress=on_progress, options=options)
        return Model(await self._life.load(call), on_close=self._unload)

    async def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Return sums over the life of the current process, and its state now."""
        connection = await self._life.until_ready()
        return convert_reply(await ask(connection, "metrics", {}, timeout), WorkerMetrics)

    async def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """Set the given memory limits, and return the memory in use; all in bytes.

        With ``restart`` the limits are set again in each later process. ``memory_limit`` and
        ``prompt_cache_limit`` belong to the loaded model, and end with it.
        """
        final = await self._life.set_memory(request_options(limits), timeout)
        return convert_reply(final, MemoryResult)

    async def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel the request with a stream's ``id``, or all requests in flight.

        Each cancelled request still ends by itself: the call that waits for it gets RequestCancelled.
        This call starts no process. Raises: NotInitialized before the first start.
        """
        if not isinstance(request_id, str | None):
            raise InvalidParams(
                f"`request_id` is {request_id!r}: give the `id` of a stream, or leave it out to "
                "cancel all requests",
                data={"field": "request_id"},
            )
        fields = set_fields(target=request_id)
        return convert_reply(
            await ask(self._child.ready(), "cancel", fields, timeout), CancelResult
        )

    async def stop(self) -> None:
        """End the process; the next request starts another. Requests in flight are cancelled.

        Raises: InvalidParams without ``restart``.
        """
        await self._series("stop").stop()

    async def restart(self, *, drain: float = 30.0) -> None:
        """Start another process in place of the current one, or after the worker was given up.

        Requests in flight have ``drain`` seconds to end, and fail with WorkerCrashed then;
        requests that come meanwhile wait. Raises: as `start`, and InvalidParams without
        ``restart``.
        """
        check_seconds("drain", drain)
        await self._series("restart").restart(drain)

    async def close(self) -> None:
        """End the worker: ask it to quit, close its stdin, SIGTERM, SIGKILL, each with its limit.

        May be called at any time, any number of times, and by several tasks at once. Requests in
        flight fail with RequestCancelled.
        """
        await self._life.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def _without_model(self) -> Connector:
        return self._life.without_model

    @property
    def _child(self) -> Child:
        """The current process, or the last."""
        life = self._life
        return life if isinstance(life, Child) else life.child

    def _series(self, needed_by: str) -> ChildSeries:
        """Return the series of processes. Raises: InvalidParams without ``restart``."""
        if isinstance(self._life, ChildSeries):
            return self._life
        raise _needs_restart(needed_by)

    async def _unload(self, route: ModelRoute, /) -> None:
        await self._life.unload(route)


def _refuse_without_restart(**keywords: object) -> None:
    for name, value in keywords.items():
        if value is not None:
            raise _needs_restart(name)


def _needs_restart(name: str) -> InvalidParams:
    return InvalidParams(
        f"`{name}` needs a worker with restarts; create it with "
        f"Worker(restart=RestartPolicy()), or do without `{name}`",
        data={"field": name},
    )
