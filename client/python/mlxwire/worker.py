"""A worker: a child process with one model in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from mlxwire_protocol.replies import Event
from mlxwire_protocol.results import (
    CancelResult,
    HelloResult,
    LoadResult,
    MemoryResult,
    WorkerMetrics,
)

from .connection.connection import Connection
from .connection.liveness import LivenessLimits
from .connection.route import ModelRoute
from .connection.watchdog import Watchdog
from .errors import MlxwireError, NotInitialized
from .model import Model
from .options import LoadOptions, MemoryOptions, OnProgress, Path, set_fields
from .process.find_worker import find_worker
from .process.pipes import call_guarded
from .process.shutdown import ShutdownLimits
from .process.stderr_ring import StderrRing
from .requests.pending import PendingRequest, ask
from .requests.request_limits import DEFAULT_BUFFER_BYTES, RequestLimits
from .results import Heartbeat, convert_reply
from .version import __version__

HEARTBEAT = "heartbeat"
REPLACED = "this model was replaced by a later load; use that one"
CLOSED = "this model was closed; load it again"


def not_started() -> NotInitialized:
    """What a worker says that nobody has started."""
    return NotInitialized(
        "the worker has not been started: use it in `async with Worker() as worker`, or call "
        "`start()` first"
    )


class Worker:
    """Starts a worker as a child process, and ends it: ``async with mlxwire.Worker() as w``.

    command: the worker's program; by default as `find_worker` says. ``args`` come after it.
    engine: ``"mock"`` or ``"mlx"``, given to it as ``--engine``.
    env: variables beside the host's own. cwd: its folder, where relative paths begin.
    start_timeout: seconds until it must have answered hello.
    request_timeout: seconds for each request that names no time-out of its own; `load`
        excepted, which takes only its own. idle_timeout: seconds that a stream may be waited for
        without a message of it, likewise.
    on_stderr: called with each line that it logs. on_event: with each event of ``events``.
    require: capabilities without which it is of no use.
    liveness: how long it may hang before it is ended; without it a worker that hangs is left
        alone. It needs the heartbeats of the event ``heartbeat``, and does nothing without.
    shutdown: limits of the steps that end it. drain_timeout: seconds that it has to end a
        cancelled request. buffer_bytes: what a stream may hold for a slow consumer; a
        worker that knows `window` sends no more than fits.

    It belongs to the event loop that it is started on, and can be started once.
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
        liveness: LivenessLimits | None = None,
        events: Sequence[str] = (),
        on_event: Callable[[Event], object] | None = None,
        drain_timeout: float = 5.0,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    ) -> None:
        self._command = command
        self._args = [*(("--engine", engine) if engine else ()), *args]
        self._env = env
        self._cwd = cwd
        self._start_timeout = start_timeout
        self._limits = RequestLimits(
            request_timeout=request_timeout,
            idle_timeout=idle_timeout,
            drain=drain_timeout,
            buffer_bytes=buffer_bytes,
        )
        self._on_stderr = on_stderr
        self._shutdown = shutdown or ShutdownLimits()
        self._require = require
        self._liveness = liveness
        self._watchdog: Watchdog | None = None
        self._events = events
        self._on_event = on_event
        self._stderr = StderrRing(on_line=self._stderr_line if on_stderr else None)
        self._connection: Connection | None = None
        self._hello: HelloResult | None = None
        self._route: ModelRoute | None = None
        self._loaded: dict[str, Any] | None = None

    @property
    def hello(self) -> HelloResult:
        """What it said in the handshake: its identity, capabilities and limits."""
        if self._hello is None:
            raise not_started()
        return self._hello

    @property
    def limits(self) -> RequestLimits:
        """What each of its requests may take."""
        return self._limits

    @property
    def connection(self) -> Connection:
        """What its requests go through. Raises: NotInitialized before the start."""
        if self._hello is None:
            raise not_started()
        assert self._connection is not None
        return self._connection

    @property
    def pid(self) -> int | None:
        """Its process id, also after its end; None before it is spawned."""
        process = self._connection and self._connection.process
        return process.pid if process else None

    @property
    def returncode(self) -> int | None:
        """How it ended, negative for a signal; None while it has not."""
        process = self._connection and self._connection.process
        return process.returncode if process else None

    @property
    def stderr(self) -> str:
        """The last 64 KiB that it wrote to stderr."""
        return self._stderr.text()

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on its stdout before the handshake that are no messages, such as a banner."""
        return list(self._connection.stray_lines) if self._connection else []

    async def start(self) -> Self:
        """Spawn it and shake hands; `async with` does.

        Raises: SpawnFailed, HandshakeFailed (also where it exits instead), UnsupportedProtocol,
        UnsupportedCapability. The child is gone in each case, and likewise if the task is
        cancelled.
        """
        if self._connection is not None:
            raise RuntimeError("this worker was started before; make a new Worker for another")
        command = [
            *find_worker(self._command, {**os.environ, **(self._env or {})}),
            *self._args,
        ]
        self._connection = connection = Connection(
            asyncio.get_running_loop(),
            shutdown=self._shutdown,
            limits=self._limits,
            stderr=self._stderr,
            on_event=self._take_event,
        )
        connection.spawn(command, self._env, self._cwd)
        try:
            self._hello = await connection.greet(
                version=__version__,
                require=self._require,
                events=self._wanted_events(),
                seconds=self._start_timeout,
            )
        except BaseException as error:
            await connection.abort()
            if isinstance(error, MlxwireError):
                error.stderr_tail = connection.tail()
            raise
        if self._liveness is not None and HEARTBEAT in self._hello.events:
            self._watchdog = Watchdog(connection, self._liveness)
        return self

    async def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model folder; it replaces the one loaded before, whose `Model` is void then.

        Raises: ModelNotFound, ModelLoadFailed, UnsupportedModel, OutOfMemory, …; the model
        loaded before stays where the new one fails its checks.
        """
        connection = self._ready()
        request = PendingRequest(
            connection,
            "load",
            set_fields(path=path, **options),
            timeout=timeout,
            on_progress=on_progress,
            on_final=self._load_ended,
        )
        final = await request.result()
        route = ModelRoute(connection, convert_reply(final, LoadResult))
        if final is self._loaded:
            self._route = route
        else:  # another load has ended since
            route.close(REPLACED)
        return Model(route, on_close=self._unload)

    async def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Sums over the worker's life, and its state now."""
        return convert_reply(await ask(self._ready(), "metrics", {}, timeout), WorkerMetrics)

    async def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """The memory in use, in bytes; first sets the limits given, and clears what MLX keeps."""
        fields = set_fields(**limits)
        return convert_reply(await ask(self._ready(), "memory", fields, timeout), MemoryResult)

    async def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel one request by its stream's ``id``, or all in flight.

        Each still ends by itself, with ``finish_reason`` ``cancelled``.
        """
        fields = set_fields(target=request_id)
        return convert_reply(await ask(self._ready(), "cancel", fields, timeout), CancelResult)

    async def close(self) -> None:
        """End the worker: ask, close its stdin, SIGTERM, SIGKILL, each with its limit.

        May be called at any time, any number of times and by several tasks at once.
        """
        if self._connection is not None:
            self._connection.check_loop()
            await self._connection.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _ready(self) -> Connection:
        connection = self.connection
        connection.check_loop()
        return connection

    def _wanted_events(self) -> list[str]:
        wanted = [HEARTBEAT] if self._liveness is not None else []
        return [*dict.fromkeys([*self._events, *wanted])]

    def _take_event(self, event: Event) -> None:
        if self._watchdog is not None and isinstance(event, Heartbeat):
            self._watchdog.take_beat(event)
        if self._on_event is not None and event.event in self._events:
            self._on_event(event)

    def _load_ended(self, final: dict[str, Any]) -> None:
        """The model of before is replaced, also where the task that asked was cancelled."""
        if final.get("type") == "result":
            self._loaded = final
            if self._route is not None:
                self._route.close(REPLACED)

    async def _unload(self, model: ModelRoute, /) -> None:
        model.close(CLOSED)
        connection = self._ready()
        if connection.failure is None:
            await ask(connection, "unload", {})

    def _stderr_line(self, line: str) -> None:
        assert self._connection is not None
        call_guarded(self._connection.loop, self._on_stderr, line)
