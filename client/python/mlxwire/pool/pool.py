"""Several workers behind one object: replicas of a model, and many models in bounded memory.

Each worker has one model and is a process of its own, so a crash costs its requests alone, and
a model that is not needed gives all of its memory back by ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from mlxwire_protocol.results import MemoryResult, WorkerMetrics

from ..connection.route import ModelRoute
from ..errors import InvalidParams, MlxwireError, ShuttingDown
from ..model import Model
from ..options import LoadOptions, OnProgress, Path
from ..restart.supervisor import MemberOptions, Supervisor
from ..restart.worker_states import State, WorkerChange
from ..worker import CLOSED, Worker
from .group import Member, ModelGroup
from .room import Room

POOL_CLOSED = "this pool was closed; start another one"

Figures = TypeVar("Figures", WorkerMetrics, MemoryResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWorker:
    """One worker of a pool, as it is now. ``pid`` is None where it does not run."""

    path: str
    state: State
    pid: int | None
    in_flight: int
    weight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """Sums over the workers that run, each since its own start, and the figures of each.

    The names are those of `WorkerMetrics`; what can't be summed stands with each worker alone.
    """

    workers: list[tuple[PoolWorker, WorkerMetrics]]
    requests: int
    in_flight: int
    queued: int
    cancelled: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    active_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """Bytes that the workers that run take together, and the figures of each, as in
    `MemoryResult`. They need not have had their peaks at the same time."""

    workers: list[tuple[PoolWorker, MemoryResult]]
    active_bytes: int
    peak_bytes: int
    buffer_bytes: int
    sequence_bytes: int
    prompt_cache_bytes: int


class Pool:
    """Workers for any number of models: ``async with mlxwire.Pool() as pool``.

    byte_budget: bytes that the weights of all loaded models may take together; the one that
    was not used for longest leaves first. patience: seconds that a request waits for busy
    models to make room. on_change and the other options hold for each worker, as for
    `Supervisor`.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        byte_budget: int | None = None,
        patience: float = 30.0,
        on_change: Callable[[WorkerChange], object] | None = None,
        **options: Unpack[MemberOptions],
    ) -> None:
        self._supervise = partial(Supervisor, command, **options)
        self._room = Room(byte_budget, patience)
        self._on_change = on_change
        self._groups: list[ModelGroup] = []
        self._closed = False

    @property
    def workers(self) -> list[PoolWorker]:
        """All workers, running or not."""
        return [_describe(member) for group in self._groups for member in group.members]

    async def load(
        self,
        path: Path,
        *,
        workers: int = 1,
        on_demand: bool = False,
        weight_bytes: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """A model for so many workers of its own; each is started now, as far as there is room.

        on_demand: by the first request that needs it instead. weight_bytes: what it takes,
        until a load says it; left out, the size of the weights in its folder. The rest is as
        for `Worker.load`. Closing the model ends its workers.

        Raises: OutOfMemory, Overloaded, and what a worker failed to start or to load with.
        """
        if self._closed:
            raise ShuttingDown(POOL_CLOSED)
        if workers < 1:
            raise InvalidParams("a model needs at least one worker", data={"field": "workers"})
        group = ModelGroup(
            path,
            self._room,
            workers=workers,
            supervise=self._supervise,
            load=lambda supervisor: supervisor.plan(
                path, timeout=timeout, on_progress=on_progress, **options
            ),
            weight_bytes=weight_bytes,
            on_change=self._on_change,
        )
        self._groups.append(group)
        if not on_demand:
            try:
                await group.start()
            except BaseException:
                await self._drop(group.route)
                raise
        return Model(group.route, on_close=self._drop)

    async def metrics(self, *, timeout: float | None = None) -> PoolMetrics:
        """What the workers have done. Asks those that run, starts none, and is no use of them
        in the sense of ``unload_after``."""
        found = await self._ask_running(lambda worker: worker.metrics(timeout=timeout))
        return PoolMetrics(workers=found, **_sums(PoolMetrics, found))

    async def memory(self, *, timeout: float | None = None) -> PoolMemory:
        """The memory in use, as `metrics` asks. Limits to it are options of `load`."""
        found = await self._ask_running(lambda worker: worker.memory(timeout=timeout))
        return PoolMemory(workers=found, **_sums(PoolMemory, found))

    async def restart(self, *, drain: float = 30.0) -> None:
        """Start every running worker anew, one after the other; the others serve meanwhile.

        Each lets what it runs end, for ``drain`` seconds at most. Raises: what a worker failed
        to start with; those after it keep running as they are.
        """
        for group in list(self._groups):
            await group.restart(drain)

    async def close(self) -> None:
        """End all workers. Safe to call again."""
        self._closed = True
        groups, self._groups = self._groups, []
        await asyncio.gather(*(group.close(POOL_CLOSED) for group in groups))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _drop(self, route: ModelRoute) -> None:
        for group in [group for group in self._groups if group.route is route]:
            self._groups.remove(group)
            await group.close(CLOSED)

    async def _ask_running(
        self, ask: Callable[[Worker], Coroutine[Any, Any, Figures]]
    ) -> list[tuple[PoolWorker, Figures]]:
        """What each says; one that dies meanwhile is left out. Raises: what another failed with."""
        running = [
            member
            for group in self._groups
            for member in group.members
            if member.supervisor.state in ("ready", "draining")
        ]
        workers = [member.supervisor.worker for member in running]
        answers = await asyncio.gather(*map(ask, workers), return_exceptions=True)
        found = []
        for member, worker, answer in zip(running, workers, answers, strict=True):
            if not isinstance(answer, BaseException):
                found.append((_describe(member), answer))
            elif not isinstance(answer, MlxwireError) or worker.connection.failure is None:
                raise answer
        return found


def _describe(member: Member) -> PoolWorker:
    return PoolWorker(
        path=member.name,
        state=member.supervisor.state,
        pid=member.supervisor.pid if member.holds_room else None,
        in_flight=member.in_flight,
        weight_bytes=member.weight_bytes,
    )


def _sums(
    kind: type[PoolMetrics | PoolMemory], found: list[tuple[PoolWorker, Figures]]
) -> dict[str, Any]:
    names = [field.name for field in fields(kind) if field.name != "workers"]
    return {name: sum(getattr(figures, name) for _, figures in found) for name in names}
