"""The processes of a worker with `restart`, one after another, and the model they are given.

A crash fails the requests in flight. Nothing is ever sent twice, since only the caller knows
whether a request may be repeated; requests that come after a crash wait for the restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..connection.child import CLOSED, REPLACED, Child, ChildOptions, LoadCall, WorkerState
from ..connection.connection import Connection
from ..errors import MlxwireError, ModelNotLoaded
from ..process.owner import Owner
from ..process.postmortem import not_started
from ..requests.pending import PendingRequest, ask
from ..requests.route import ModelRoute, RequestLimits
from .policy import RestartPolicy, WorkerChange
from .replay import LoadPlan, Replay
from .worker_life import WorkerLife


class ChildSeries:
    """Implements `Connector` over the processes of one worker, for routes that outlive them."""

    def __init__(
        self,
        options: ChildOptions,
        *,
        policy: RestartPolicy,
        unload_after: float | None,
        on_change: Callable[[WorkerChange], object] | None,
    ) -> None:
        self.limits: RequestLimits = options.limits
        self._replay = Replay()
        self._life = WorkerLife(
            options,
            self._replay.prepare,
            policy=policy,
            unload_after=unload_after,
            on_change=self._tell,
        )
        self._on_change = on_change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = Owner()
        self._turn = asyncio.Lock()
        """Held by a load or an unload: a request waits for the loads asked for before it."""
        self._waiting = 0

    @property
    def state(self) -> WorkerState:
        """The state of the worker; ``failed`` once it was given up."""
        return self._life.state

    @property
    def child(self) -> Child:
        """The current process, or the last."""
        return self._life.child

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply or for a process."""
        return self._waiting + self._life.in_flight

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the worker was started on. Raises: NotInitialized before the start."""
        if self._loop is None:
            raise not_started()
        return self._loop

    def check_loop(self) -> None:
        """Check the running loop.

        Raises: RuntimeError on any loop but the worker's, NotInitialized in a fork.
        """
        self._owner.check_loop(self.loop)

    @property
    def without_model(self) -> _WithoutModel:
        """The `Connector` of requests that need no model."""
        return _WithoutModel(self)

    def bind(self) -> None:
        """Bind the worker to the running loop; the first request starts a process."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._owner = Owner()
        self.check_loop()

    async def start(self) -> None:
        """Start a process now; a failed first start is not repeated. Raises: as `Child.start`."""
        self.bind()
        await self._life.until_ready()

    async def until_ready(self) -> Connection:
        """Return the connection of a process that is ready, with or without its model.

        Raises: MlxwireError if no process starts.
        """
        self.check_loop()
        return (await self._life.until_ready()).connection

    async def load(self, call: LoadCall) -> ModelRoute:
        """Load a model now and into each process to come. Raises: as `Worker.load`."""
        self.check_loop()
        plan = LoadPlan(route=ModelRoute(self), call=call)
        async with self._turn:
            await self._replay.load(await self._life.until_ready(), plan)
        return plan.route

    async def unload(self, route: ModelRoute) -> None:
        """Close a model's route, and unload the model from the current process."""
        if not self._owner.here:
            return
        route.close(CLOSED)
        if self.state != "ready":
            self._replay.drop(route)
            return
        async with self._turn:
            if self._replay.drop(route) and self.state == "ready":
                await ask(self.child.connection, "unload", {})

    async def set_memory(
        self, limits: Mapping[str, Any], timeout: float | None
    ) -> dict[str, Any]:
        """Send the request `memory`, and remember its limits for each process to come."""
        self.check_loop()
        child = await self._child_with_model()
        final = await child.set_memory(limits, timeout)
        self._replay.keep_limits(limits)
        return final

    def plan(self, call: LoadCall) -> ModelRoute:
        """Make each later process load a model; the current process keeps its model."""
        return self._replay.adopt(LoadPlan(route=ModelRoute(self), call=call))

    async def connect(self, _request: PendingRequest, /) -> Connection:
        """Return the connection of a process with the model; start the process if needed.

        Raises: ModelNotLoaded if another load came first, MlxwireError if no process starts.
        """
        plan = self._replay.plan
        self._waiting += 1
        try:
            child = await self._child_with_model()
        finally:
            self._waiting -= 1
        if self._replay.plan is not plan:
            raise ModelNotLoaded(REPLACED if self._replay.plan else CLOSED)
        return child.connection

    async def stop(self) -> None:
        """End the process; the next request starts another. Raises: NotInitialized in a fork."""
        self._owner.check()
        await self._life.stop()

    async def restart(self, drain: float) -> None:
        """Replace the current process with a new one. Raises: as `start`."""
        self.bind()
        await self._life.restart(drain)

    async def close(self) -> None:
        """End the process for good. Safe to call again. A fork leaves it alone."""
        if self._loop is None or self._owner.here:
            await self._life.close()

    def _tell(self, change: WorkerChange) -> None:
        if self._on_change is not None:
            path = self._replay.plan.call.path if self._replay.plan else None
            self._on_change(replace(change, path=path))

    async def _child_with_model(self) -> Child:
        async with self._turn:
            while True:
                child = await self._life.until_ready()
                try:
                    await self._replay.restore(child)
                except MlxwireError:
                    if self.child is child and self.state == "ready":
                        raise
                else:
                    return child


class _WithoutModel:
    """Implements `Connector` for requests that need no model: they wait for no load."""

    def __init__(self, series: ChildSeries) -> None:
        self.loop = series.loop
        self.limits = series.limits
        self.check_loop = series.check_loop
        self._until_ready = series.until_ready

    async def connect(self, _request: PendingRequest, /) -> Connection:
        """Return the connection of a process that is ready. Raises: as `until_ready`."""
        return await self._until_ready()
