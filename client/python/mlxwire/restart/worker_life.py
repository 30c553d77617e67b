"""Run one process after another: on demand, again after a crash, until it is given up.

Theory of operation. One task, the keeper, lives through a round: it starts a process, waits for
its end, pauses, and starts the next. Everybody else only asks for a state: `until_ready` waits
for the outcome of the round, `stop`, `restart` and `close` cancel the keeper and see the process
out. All run on one event loop; the legal moves between states are the table `TRANSITIONS`.

- ``_outcome`` is the future that requests wait for. It is renewed when a wait begins (start,
  crash, drain) and set when it ends: None means "look again", an error is for all who wait.
- ``_end`` is the future that the keeper waits for while a process serves: the error of a crash,
  or None if the process was unused for ``unload_after``.
- ``_verdict`` is the error of a worker that was given up or closed; only `restart` lifts the
  former, and nothing the latter.

The order at a crash: the connection calls `_judge` for the aftermath, then `_crashed`, and then
fails its requests. So the state is ``restarting`` before any caller learns of the crash.

Hazards:
- The next process is spawned only when the one before has exited, since two would not fit into
  memory together. So a new keeper first waits for the one before it.
- The error of a first start goes to those who asked for it, and nothing is tried again by
  itself: a worker that never ran most likely has a wrong command.
- A task that waits may be cancelled; `asyncio.shield` keeps the outcome for the others.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from ..connection.child import Child, ChildOptions, WorkerState
from ..errors import InternalError, MlxwireError, WorkerCrashed
from ..process.callbacks import call_guarded
from ..process.postmortem import Aftermath, closed_by_host, closed_meanwhile
from ..requests.pending import PendingRequest
from .crashes import HOPELESS, CrashHistory, Suspect
from .policy import ChangeKind, RestartPolicy, WorkerChange

Step = Literal["start", "ready", "drain", "crash", "give_up", "stop", "close"]
_OPEN: tuple[WorkerState, ...] = (
    *("stopped", "starting", "ready"),
    *("draining", "restarting", "failed"),
)
TRANSITIONS: dict[tuple[WorkerState, Step], WorkerState] = {
    ("stopped", "start"): "starting",
    ("starting", "ready"): "ready",
    ("starting", "crash"): "restarting",
    ("ready", "drain"): "draining",
    ("ready", "crash"): "restarting",
    ("draining", "crash"): "restarting",
    ("restarting", "start"): "starting",
    ("restarting", "give_up"): "failed",
    **{(state, "stop"): "stopped" for state in _OPEN},
    **{(state, "close"): "closed" for state in _OPEN},
}


class WorkerLife:
    """Keeps a worker running. ``prepare`` is awaited with each new process before it is ready."""

    def __init__(
        self,
        options: ChildOptions,
        prepare: Callable[[Child], Awaitable[None]],
        *,
        policy: RestartPolicy,
        unload_after: float | None,
        on_change: Callable[[WorkerChange], object],
    ) -> None:
        self.state: WorkerState = "stopped"
        self._options = options
        self.child = Child(options, self._judge)
        """The current process, or the last; not started before the first ``starting``."""
        self._prepare = prepare
        self._history = CrashHistory(policy)
        self._suspect = Suspect()
        self._unload_after = unload_after
        self._on_change = on_change
        self._keeper: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[MlxwireError | None] | None = None
        self._end: asyncio.Future[MlxwireError | None] | None = None
        self._verdict: MlxwireError | None = None
        self._started_once = False
        """True once a process of this round was ready."""

    @property
    def in_flight(self) -> int:
        """The number of requests of the current process that wait for their final reply."""
        return self.child.in_flight if self.state in ("ready", "draining") else 0

    async def until_ready(self) -> Child:
        """Return a process that is ready; start one if there is none.

        Raises: the error of a first start, or the verdict on a worker that was given up.
        """
        while self.state != "ready":
            if self._verdict is not None:
                raise copy.copy(self._verdict)
            if self.state == "stopped":
                self._begin()
            assert self._outcome is not None
            error = await asyncio.shield(self._outcome)
            if error is not None:
                raise copy.copy(error)
        return self.child

    async def stop(self) -> None:
        """End the process; `until_ready` starts the next. Do nothing if none runs."""
        if self.state in ("stopped", "failed", "closed"):
            return
        self._move("stop")
        self._settle(None)
        await self._halt()
        self._tell("stopped")

    async def restart(self, drain: float) -> None:
        """End the process once it is idle, or after ``drain`` seconds, and start the next."""
        if self.state == "ready":
            await self._drain(drain)
        if self.state == "closed":
            raise closed_by_host()
        self._verdict = None
        self._history.forget()
        self._suspect = Suspect()
        self._move("stop")
        self.child.expect_restart()
        await self._halt()
        await self.until_ready()

    async def close(self) -> None:
        """End the process for good. Safe to call again."""
        if self.state != "closed":
            self._verdict = closed_by_host()
            self._move("close")
            self._settle(closed_meanwhile())
        await self._halt()

    def _begin(self) -> None:
        self._move("start")
        self._renew_outcome()
        loop = asyncio.get_running_loop()
        self._keeper = loop.create_task(self._keep(self._keeper))

    async def _keep(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._started_once = False
        try:
            while True:
                crash = await self._live_once()
                await self.child.close()
                if crash is None:
                    self._tell("stopped")
                    return
                pause = self._pause_after(crash)
                if pause is None:
                    return
                await asyncio.sleep(pause)
                self._move("start")
        finally:
            await self.child.close()

    async def _live_once(self) -> MlxwireError | None:
        """Run one process to its end; return the error that ended it, or None if unused."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[MlxwireError | None] = loop.create_future()
        self._end = end
        try:
            await self._start()
        except Exception as error:
            self._move("crash")
            if isinstance(error, MlxwireError):
                return error
            return InternalError(
                f"the worker can't be started: {type(error).__name__}: {error}"
            )
        watching = loop.create_task(self._stop_unused())
        try:
            return await end
        finally:
            watching.cancel()

    async def _start(self) -> None:
        self.child = child = Child(self._options, self._judge)
        await child.start()
        self._tell("started")
        await self._prepare(child)
        if child.connection.failure is not None:
            raise child.connection.failure
        child.connection.on_failure = self._crashed
        self._started_once = True
        self._move("ready")
        self._tell("ready")
        self._settle(None)

    def _judge(self, in_flight: Sequence[PendingRequest]) -> Aftermath:
        """Return the aftermath of the current process's death."""
        if self.state in ("ready", "draining"):
            return self._suspect.crashed(in_flight)
        comes = self.state == "starting" and self._started_once
        return Aftermath.RESTART if comes else Aftermath.NOTHING

    def _crashed(self, error: MlxwireError) -> None:
        """Record a crash; the connection calls this before its requests fail."""
        assert self._end is not None
        if self.state in ("ready", "draining"):
            if self.state == "ready":
                self._renew_outcome()
            self._move("crash")
            self._end.set_result(error)

    def _pause_after(self, crash: MlxwireError) -> float | None:
        """Return the seconds until the next start; None if no process follows by itself."""
        self._tell("crashed", error=crash)
        now = asyncio.get_running_loop().time()
        assert self._end is not None
        serving = self._end.done() and isinstance(crash, WorkerCrashed) and crash.in_flight > 0
        pause = self._history.crashed(now, random.random(), serving=serving)
        if not self._started_once and pause is not None:
            self._move("stop")
            self._settle(crash)
            return None
        if pause is None or isinstance(crash, HOPELESS):
            self._verdict = self._history.verdict(crash)
            self._move("give_up")
            self._tell("gave_up", error=self._verdict)
            self._settle(self._verdict)
            return None
        self._tell("restarting", delay=pause)
        return pause

    async def _stop_unused(self) -> None:
        """End the process after ``unload_after`` seconds without use."""
        if self._unload_after is None:
            return
        connection, end = self.child.connection, self._end
        assert end is not None
        left = self._unload_after
        while left > 0:
            await asyncio.sleep(left)
            await connection.idle.wait()
            left = connection.used_last + self._unload_after - connection.loop.time()
        if self.state == "ready":
            self._move("stop")
            end.set_result(None)

    async def _drain(self, seconds: float) -> None:
        self._renew_outcome()
        self._move("drain")
        try:
            async with asyncio.timeout(seconds):
                await self.child.connection.idle.wait()
        except TimeoutError:
            return

    async def _halt(self) -> None:
        keeper = self._keeper
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await self.child.close()

    def _renew_outcome(self) -> None:
        if self._outcome is None or self._outcome.done():
            self._outcome = asyncio.get_running_loop().create_future()

    def _settle(self, error: MlxwireError | None) -> None:
        """End the wait of all callers: None makes them check the state again."""
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(error)

    def _move(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _tell(
        self, kind: ChangeKind, error: MlxwireError | None = None, delay: float | None = None
    ) -> None:
        change = WorkerChange(kind=kind, pid=self.child.pid, error=error, delay=delay)
        call_guarded(asyncio.get_running_loop(), self._on_change, change)
