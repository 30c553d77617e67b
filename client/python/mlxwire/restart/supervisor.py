"""A worker that is started again when it dies, with its model in it.

A crash fails the requests in flight, and nothing is ever sent twice: only the caller knows
whether its request may be repeated. Requests that come after a crash wait for the restart.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, Unpack

from mlxwire_protocol.results import CancelResult, HelloResult, MemoryResult, WorkerMetrics

from ..connection.connection import Connection
from ..connection.liveness import LivenessLimits
from ..connection.route import ModelRoute
from ..errors import MlxwireError, ModelNotLoaded
from ..model import Model
from ..options import LoadOptions, MemoryOptions, OnProgress, Path, WorkerOptions
from ..requests.pending import PendingRequest, ask
from ..requests.request_limits import RequestLimits
from ..worker import CLOSED, REPLACED, Worker, not_started
from .policy import RestartPolicy
from .replay import LoadPlan, Replay
from .worker_life import WorkerLife
from .worker_states import State, WorkerChange


class MemberOptions(WorkerOptions, total=False):
    """The keyword options of `Supervisor`, which explains them, but for ``on_change``."""

    restart: RestartPolicy | None
    unload_after: float | None
    dice: random.Random | None
    make: Callable[..., Worker]


class SupervisorOptions(MemberOptions, total=False):
    """The keyword options of `Supervisor`."""

    on_change: Callable[[WorkerChange], object] | None


class PoolOptions(SupervisorOptions, total=False):
    """The keyword options of `Pool`, which explains them."""

    byte_budget: int | None
    patience: float


class Supervisor:
    """Keeps a worker running: ``async with mlxwire.Supervisor() as supervisor``.

    ``command`` and the options that are not named here are `Worker`'s; ``liveness`` is on
    unless it is set to None.
    restart: when to start it again, and when to give up. unload_after: seconds without a
    request after which the worker is ended; the next request starts it again.
    on_change: called with each `WorkerChange`. dice: where the jitter of pauses comes from.
    make: makes each worker, of `Worker`'s arguments.

    A request that fails says in ``error.retryable`` whether asking again makes sense: not
    after a crash loop's verdict, which stands until `restart`.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        restart: RestartPolicy | None = None,
        unload_after: float | None = None,
        on_change: Callable[[WorkerChange], object] | None = None,
        dice: random.Random | None = None,
        make: Callable[..., Worker] = Worker,
        **options: Unpack[WorkerOptions],
    ) -> None:
        options.setdefault("liveness", LivenessLimits())
        self._replay = Replay()
        self._life = WorkerLife(
            lambda: make(command, **options),
            self._replay.prepare,
            policy=restart or RestartPolicy(),
            unload_after=unload_after,
            on_change=self._tell,
            dice=dice or random.Random(),
        )
        self._on_change = on_change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        """Whoever needs the model waits for the loads that were asked for before."""
        self._waiting = 0

    @property
    def state(self) -> State:
        """What is with the worker now; ``failed`` is a crash loop's verdict."""
        return self._life.state

    @property
    def worker(self) -> Worker:
        """The worker of the moment, or the last. What is set on it is its own."""
        return self._life.worker

    @property
    def hello(self) -> HelloResult:
        """What the worker of the moment said in the handshake."""
        return self.worker.hello

    @property
    def pid(self) -> int | None:
        """The process id of the worker of the moment, or the last."""
        return self.worker.pid

    @property
    def stderr(self) -> str:
        """The last 64 KiB that the worker of the moment, or the last, wrote to stderr."""
        return self.worker.stderr

    @property
    def in_flight(self) -> int:
        """Requests whose final is due, and those that wait for a worker."""
        return self._waiting + self._life.in_flight

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it was started on. Raises: NotInitialized before."""
        if self._loop is None:
            raise not_started()
        return self._loop

    @property
    def limits(self) -> RequestLimits:
        """What each request may take."""
        return self.worker.limits

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than its own."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(
                "this supervisor was started on another event loop and can only be used there"
            )

    def bind(self) -> None:
        """From now on it belongs to the running loop; a worker is started by the first need."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self.check_loop()

    async def start(self) -> Self:
        """Start the worker now. Raises: as `Worker.start`; nothing is tried again yet."""
        self.bind()
        await self._life.until_ready()
        return self

    async def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model now, and again with these options after each restart.

        Otherwise as `Worker.load`; but where it fails the model of before stays usable. If the
        worker has lost it, the next request has it loaded again.
        """
        self.check_loop()
        plan = LoadPlan(
            route=ModelRoute(self),
            path=path,
            timeout=timeout,
            on_progress=on_progress,
            options=options,
        )
        async with self._turn:
            await self._replay.load(await self._life.until_ready(), plan)
        return Model(plan.route, on_close=self._unload)

    async def memory(
        self, *, timeout: float | None = None, **limits: Unpack[MemoryOptions]
    ) -> MemoryResult:
        """As `Worker.memory`; the limits are set again after each restart.

        A ``memory_limit`` and a ``prompt_cache_limit`` are the loaded model's, and go with it.
        """
        self.check_loop()
        worker = await self._worker_with_model()
        result = await worker.memory(timeout=timeout, **limits)
        self._replay.keep_limits(**limits)
        return result

    async def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """As `Worker.metrics`, of the worker of the moment, which is started if need be."""
        self.check_loop()
        return await (await self._life.until_ready()).metrics(timeout=timeout)

    async def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """As `Worker.cancel`, in the worker of the moment; starts none.

        Raises: NotInitialized before the first, and why there is none now.
        """
        self.check_loop()
        return await self.worker.cancel(request_id, timeout=timeout)

    def plan(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> ModelRoute:
        """Have each worker to come load this; the one of the moment does not hear of it."""
        return self._replay.adopt(
            LoadPlan(
                route=ModelRoute(self),
                path=path,
                timeout=timeout,
                on_progress=on_progress,
                options=options,
            )
        )

    async def connect(self, _request: PendingRequest, /) -> Connection:
        """The connection of a worker that is ready, started and waited for if need be.

        Raises: ModelNotLoaded where another load came before, and why there is none.
        """
        plan = self._replay.plan
        self._waiting += 1
        try:
            worker = await self._worker_with_model()
        finally:
            self._waiting -= 1
        if self._replay.plan is not plan:
            raise ModelNotLoaded(REPLACED if self._replay.plan else CLOSED)
        return worker.connection

    async def stop(self) -> None:
        """End the worker; the next request starts it again. What is in flight is cancelled."""
        await self._life.stop()

    async def restart(self, *, drain: float = 30.0) -> None:
        """Start another worker in its place, or after a crash loop's verdict.

        What is in flight has ``drain`` seconds to end, and is cancelled then; what comes
        meanwhile waits. Raises: as `start`.
        """
        self.bind()
        await self._life.restart(drain)

    async def close(self) -> None:
        """End the worker for good. Safe to call again."""
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

    def _tell(self, change: WorkerChange) -> None:
        if self._on_change is not None:
            path = self._replay.plan.path if self._replay.plan else None
            self._on_change(replace(change, path=path))

    async def _worker_with_model(self) -> Worker:
        async with self._turn:
            while True:
                worker = await self._life.until_ready()
                try:
                    await self._replay.restore(worker)
                except MlxwireError:
                    if self.worker is worker and self.state == "ready":
                        raise
                else:
                    return worker

    async def _unload(self, route: ModelRoute) -> None:
        route.close(CLOSED)
        if self.state != "ready":
            self._replay.drop(route)
            return
        async with self._turn:
            if self._replay.drop(route) and self.state == "ready":
                await ask(self.worker.connection, "unload", {})
