"""One child process behind a `Worker`: start it, load models into it, end it.

A `Worker` without `restart` is one child. A `Worker` with it is a series of children
(`restart.series`), each of which is started and used in the same way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlxwire_protocol.replies import Event
from mlxwire_protocol.results import HelloResult, LoadResult

from ..errors import MlxwireError
from ..options import LoadOptions, OnProgress, Path, set_fields
from ..process.callbacks import call_guarded
from ..process.checks import (
    check_callback,
    check_command,
    check_folder,
    check_kind,
    check_seconds,
    check_variables,
    check_words,
)
from ..process.find_worker import find_worker
from ..process.postmortem import not_started, restarted_meanwhile
from ..process.shutdown import ShutdownLimits
from ..process.stderr_ring import StderrRing
from ..requests.pending import PendingRequest, ask
from ..requests.route import ModelRoute, RequestLimits
from ..results import Heartbeat, convert_reply
from ..version import __version__
from .connection import Connection, Judge, not_followed
from .handshake import greet
from .liveness import LivenessLimits
from .watchdog import Watchdog

HEARTBEAT = "heartbeat"
REPLACED = "this model was replaced by a later load; use the model of that load"
CLOSED = "this model was closed; load it again"

WorkerState = Literal[
    "stopped", "starting", "ready", "draining", "restarting", "failed", "closed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """The options of `Worker` that each of its processes is started with.

    Raises: InvalidParams for a value that no process could be started with.
    """

    command: str | Sequence[str] | None
    args: Sequence[str]
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    start_timeout: float
    limits: RequestLimits
    on_stderr: Callable[[str], object] | None
    shutdown: ShutdownLimits
    require: Sequence[str]
    liveness: LivenessLimits | None
    events: Sequence[str]
    on_event: Callable[[Event], object] | None

    def __post_init__(self) -> None:
        check_command("command", self.command)
        check_variables("env", self.env)
        check_folder("cwd", self.cwd)
        check_seconds("start_timeout", self.start_timeout)
        check_kind("shutdown", self.shutdown, ShutdownLimits)
        check_kind("liveness", self.liveness, LivenessLimits)
        check_words("require", self.require)
        check_words("events", self.events)
        check_callback("on_stderr", self.on_stderr)
        check_callback("on_event", self.on_event)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCall:
    """The arguments of one `Worker.load` call."""

    path: Path
    timeout: float | None
    on_progress: OnProgress | None
    options: LoadOptions


class Child:
    """One process of a worker. ``judge`` returns the aftermath of its death."""

    def __init__(self, options: ChildOptions, judge: Judge = not_followed) -> None:
        self._options = options
        self._judge = judge
        self._watchdog: Watchdog | None = None
        self._stderr = StderrRing(on_line=self._stderr_line if options.on_stderr else None)
        self._connection: Connection | None = None
        self._hello: HelloResult | None = None
        self._route: ModelRoute | None = None
        self._loaded: dict[str, Any] | None = None

    @property
    def hello(self) -> HelloResult:
        """The worker's answer in the handshake. Raises: NotInitialized before it."""
        if self._hello is None:
            raise not_started()
        return self._hello

    @property
    def connection(self) -> Connection:
        """The connection that requests go through. Raises: NotInitialized before the handshake."""
        if self._hello is None or self._connection is None:
            raise not_started()
        return self._connection

    @property
    def without_model(self) -> Connection:
        """The `Connector` of requests that need no model. Raises: as `connection`."""
        return self.connection

    @property
    def pid(self) -> int | None:
        """The process id, also after the exit; None before the spawn."""
        process = self._connection and self._connection.process
        return process.pid if process else None

    @property
    def returncode(self) -> int | None:
        """The return code, negative for a signal; None before the exit, or if it is unknown."""
        process = self._connection and self._connection.process
        return process.returncode if process else None

    @property
    def alive(self) -> bool:
        """True from the spawn until the exit was noticed."""
        process = self._connection.process if self._connection else None
        return process is not None and process.alive

    @property
    def stderr(self) -> str:
        """The end of stderr, at most 64 KiB."""
        return self._stderr.text()

    @property
    def stray_lines(self) -> list[bytes]:
        """Return the lines on stdout before the handshake that are no messages."""
        return list(self._connection.stray_lines) if self._connection else []

    @property
    def state(self) -> WorkerState:
        """The state of a worker that is only this process."""
        connection = self._connection
        if connection is None:
            return "stopped"
        if connection.closed_by_host:
            return "closed"
        if connection.failure is not None:
            return "failed"
        return "starting" if self._hello is None else "ready"

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply."""
        return self._connection.in_flight if self._connection else 0

    def ready(self) -> Connection:
        """Return the connection, to be used on the running loop.

        Raises: NotInitialized before the handshake, RuntimeError on another loop.
        """
        connection = self.connection
        connection.check_loop()
        return connection

    async def until_ready(self) -> Connection:
        """Return the connection at once, as `ready` does: no restart can be under way."""
        return self.ready()

    async def start(self) -> None:
        """Spawn the process and shake hands. On any failure the process is gone.

        Raises: SpawnFailed, HandshakeFailed, UnsupportedProtocol, UnsupportedCapability,
        WorkerCrashed; RuntimeError if this child was started before.
        """
        if self._connection is not None:
            raise RuntimeError(
                "this worker was started before; create a new Worker to start another process"
            )
        given = self._options
        program = find_worker(given.command, {**os.environ, **(given.env or {})})
        self._connection = connection = Connection(
            asyncio.get_running_loop(),
            shutdown=given.shutdown,
            limits=given.limits,
            stderr=self._stderr,
            on_event=self._take_event,
            judge=self._judge,
        )
        connection.spawn([*program, *given.args], given.env, given.cwd)
        try:
            self._hello = await greet(
                connection,
                version=__version__,
                require=given.require,
                events=self._wanted_events(),
                seconds=given.start_timeout,
            )
        except BaseException as error:
            await connection.abort()
            if isinstance(error, MlxwireError):
                error.stderr_tail = connection.tail()
            raise
        if given.liveness is not None and HEARTBEAT in self._hello.events:
            self._watchdog = Watchdog(connection, given.liveness)

    async def load(self, call: LoadCall) -> ModelRoute:
        """Load a model in place of the one before. Raises: as `Worker.load`."""
        connection = self.ready()
        request = PendingRequest(
            connection,
            "load",
            set_fields(path=call.path, **call.options),
            timeout=call.timeout,
            on_progress=call.on_progress,
            on_final=self._load_ended,
        )
        final = await request.result()
        route = ModelRoute(connection, convert_reply(final, LoadResult))
        if final is self._loaded:
            self._route = route
        else:  # a later load has ended before this task ran
            route.close(REPLACED)
        return route

    async def unload(self, route: ModelRoute) -> None:
        """Close a model's route and unload the model, if the process can still be asked to."""
        if self._connection is not None and not self._connection.owner.here:
            return
        route.close(CLOSED)
        connection = self.ready()
        if connection.failure is None:
            await ask(connection, "unload", {})

    async def set_memory(
        self, limits: Mapping[str, Any], timeout: float | None
    ) -> dict[str, Any]:
        """Send the request `memory` and return its result. Raises: MlxwireError."""
        return await ask(self.ready(), "memory", limits, timeout)

    async def close(self) -> None:
        """End the process, if it was started; safe to call again. A fork leaves it alone."""
        if self._connection is not None and self._connection.owner.here:
            self._connection.check_loop()
            await self._connection.close()

    def expect_restart(self) -> None:
        """Make requests that a following `close` cuts fail with WorkerCrashed."""
        connection = self._connection
        if connection is not None:
            connection.interruption = restarted_meanwhile(connection.in_flight)

    def _wanted_events(self) -> list[str]:
        own = [HEARTBEAT] if self._options.liveness is not None else []
        return [*dict.fromkeys([*self._options.events, *own])]

    def _take_event(self, event: Event) -> None:
        if self._watchdog is not None and isinstance(event, Heartbeat):
            self._watchdog.take_beat(event)
        if self._options.on_event is not None and event.event in self._options.events:
            self._options.on_event(event)

    def _load_ended(self, final: dict[str, Any]) -> None:
        """Close the earlier model's route, even if the task of the load was cancelled."""
        if final.get("type") == "result":
            self._loaded = final
            if self._route is not None:
                self._route.close(REPLACED)

    def _stderr_line(self, line: str) -> None:
        assert self._connection is not None
        call_guarded(self._connection.loop, self._options.on_stderr, line)
