"""One worker after another: started on demand, started again after a crash, given up at last.

A single task goes round from start to end; whoever needs a worker waits for that round's
outcome. Time is the event loop's and chance the caller's, so tests need neither.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable

from ..errors import (
    InternalError,
    InvalidParams,
    MlxwireError,
    ModelLoadFailed,
    ModelNotFound,
    UnsupportedCapability,
    UnsupportedModel,
    UnsupportedProtocol,
    WorkerCrashed,
)
from ..process.pipes import call_guarded
from ..process.postmortem import another_comes, closed_by_host, crash_loop, killed_again
from ..worker import Worker
from .policy import CrashHistory, RestartPolicy, Suspect
from .worker_states import TRANSITIONS, ChangeKind, State, Step, WorkerChange

HOPELESS = (
    *(UnsupportedProtocol, UnsupportedCapability, UnsupportedModel),
    *(ModelNotFound, ModelLoadFailed, InvalidParams),
)
"""What a start or a load fails with every time: another would change nothing."""


class WorkerLife:
    """Keeps a worker running. ``prepare`` is awaited with each new one before it is ready."""

    def __init__(
        self,
        make: Callable[[], Worker],
        prepare: Callable[[Worker], Awaitable[None]],
        *,
        policy: RestartPolicy,
        unload_after: float | None,
        on_change: Callable[[WorkerChange], object],
        dice: random.Random,
    ) -> None:
        self.state: State = "stopped"
        self.worker = make()
        """The one of the moment; not started before the first ``starting``."""
        self._make = make
        self._prepare = prepare
        self._policy = policy
        self._history = CrashHistory(policy)
        self._suspect = Suspect()
        self._unload_after = unload_after
        self._on_change = on_change
        self._dice = dice
        self._keeper: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[MlxwireError | None] | None = None
        self._end: asyncio.Future[MlxwireError | None] | None = None
        self._verdict: MlxwireError | None = None
        self._started_once = False

    @property
    def in_flight(self) -> int:
        """Requests of the worker whose final is due."""
        return self.worker.connection.in_flight if self.state in ("ready", "draining") else 0

    async def until_ready(self) -> Worker:
        """A worker that can be used, started if there is none.

        Raises: what a first start failed with, or the verdict after the last.
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
        return self.worker

    async def stop(self) -> None:
        """End the worker; the next that needs one starts it."""
        if self.state in ("stopped", "failed", "closed"):
            return
        self._move("stop")
        self._settle(None)
        await self._halt()
        self._tell("stopped")

    async def restart(self, drain: float) -> None:
        """End the worker once it is idle, after ``drain`` seconds at the latest; start another."""
        if self.state == "ready":
            await self._drain(drain)
        if self.state == "closed":
            raise closed_by_host("supervisor")
        self._verdict = None
        self._history.forget()
        self._suspect = Suspect()
        self._move("stop")
        await self._halt()
        await self.until_ready()

    async def close(self) -> None:
        """End the worker for good. Safe to call again."""
        if self.state != "closed":
            self._verdict = closed_by_host("supervisor")
            self._move("close")
            self._settle(self._verdict)
        await self._halt()

    def _begin(self) -> None:
        """Send the keeper round, once the one before has seen its worker out."""
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
                await self.worker.close()
                if crash is None:
                    self._tell("stopped")
                    return
                pause = self._pause_after(crash)
                if pause is None:
                    return
                await asyncio.sleep(pause)
                self._move("start")
        finally:
            await self.worker.close()

    async def _live_once(self) -> MlxwireError | None:
        """From a worker's start to its end: what ended it, or None if nobody used it."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[MlxwireError | None] = loop.create_future()
        self._end = end
        try:
            await self._start()
        except MlxwireError as error:
            self._move("crash")
            if self._started_once:
                another_comes(error)
            return error
        except Exception as error:
            self._move("crash")
            return InternalError(
                f"the worker can't be started: {type(error).__name__}: {error}"
            )
        watching = loop.create_task(self._stop_unused())
        try:
            return await end
        finally:
            watching.cancel()

    async def _start(self) -> None:
        self.worker = worker = self._make()
        await worker.start()
        self._tell("started")
        await self._prepare(worker)
        if worker.connection.failure is not None:
            raise worker.connection.failure
        worker.connection.on_failure = self._crashed
        self._started_once = True
        self._move("ready")
        self._tell("ready")
        self._settle(None)

    def _crashed(self, error: MlxwireError) -> None:
        """It died in use: called before its requests fail, so that they find another coming."""
        assert self._end is not None
        if self.state in ("ready", "draining"):
            another_comes(error)
            repeated = self._suspect.crashed(self.worker.connection.asked())
            if repeated and isinstance(error, WorkerCrashed):
                killed_again(error)
            if self.state == "ready":
                self._renew_outcome()
            self._move("crash")
            self._end.set_result(error)

    def _pause_after(self, crash: MlxwireError) -> float | None:
        """Seconds until the next start; None where there is none by itself."""
        self._tell("crashed", error=crash)
        now = asyncio.get_running_loop().time()
        assert self._end is not None
        serving = self._end.done() and isinstance(crash, WorkerCrashed) and crash.in_flight > 0
        pause = self._history.crashed(now, self._dice.random(), serving=serving)
        if not self._started_once and pause is not None:
            self._move("stop")  # the first start: whoever asked hears of it, and may ask again
            self._settle(crash)
            return None
        if pause is None or isinstance(crash, HOPELESS):
            self._give_up(crash)
            return None
        self._tell("restarting", delay=pause)
        return pause

    def _give_up(self, crash: MlxwireError) -> None:
        if isinstance(crash, HOPELESS):
            self._verdict = crash
        else:
            self._verdict = crash_loop(
                crash,
                crashes=len(self._history),
                serving=self._history.serving,
                seconds=self._policy.window,
            )
        self._move("give_up")
        self._tell("gave_up", error=self._verdict)
        self._settle(self._verdict)

    async def _stop_unused(self) -> None:
        """End the worker once nothing was asked of it for so long."""
        if self._unload_after is None:
            return
        connection, end = self.worker.connection, self._end
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
                await self.worker.connection.idle.wait()
        except TimeoutError:
            return

    async def _halt(self) -> None:
        keeper = self._keeper
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await self.worker.close()

    def _renew_outcome(self) -> None:
        if self._outcome is None or self._outcome.done():
            self._outcome = asyncio.get_running_loop().create_future()

    def _settle(self, error: MlxwireError | None) -> None:
        """Tell all who wait: look again, or give it up."""
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(error)

    def _move(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _tell(
        self, kind: ChangeKind, error: MlxwireError | None = None, delay: float | None = None
    ) -> None:
        change = WorkerChange(kind=kind, pid=self.worker.pid, error=error, delay=delay)
        call_guarded(asyncio.get_running_loop(), self._on_change, change)
