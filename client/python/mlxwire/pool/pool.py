"""Several workers behind one object: replicas of a model, and many models in bounded memory.

Each worker is a process of its own with one model. So a crash fails the requests of one worker
only, and the end of a worker frees all the memory of its model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from mlxwire_protocol.results import MemoryResult, WorkerMetrics

from ..connection.child import CLOSED, LoadCall, WorkerState
from ..connection.connection import Connection
from ..errors import MlxwireError, ShuttingDown
from ..model import Model
from ..options import LoadOptions, OnProgress, Path, ProcessOptions, request_options
from ..process.checks import check_callback, check_count, check_seconds
from ..requests.pending import ask
from ..requests.route import ModelRoute
from ..restart.policy import RestartPolicy, WorkerChange
from ..results import convert_reply
from ..worker import Worker
from .group import Member, ModelGroup
from .room import Room

POOL_CLOSED = "this pool was closed; start another one"
USUAL_POLICY = RestartPolicy()

Figures = TypeVar("Figures", WorkerMetrics, MemoryResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWorker:
    """One worker of a pool at this moment. ``pid`` is None while it does not run."""

    path: str
    state: WorkerState
    pid: int | None
    in_flight: int
    weight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """Sums over the running workers, each since its own start, and the figures of each worker.

    The fields are those of `WorkerMetrics` that can be summed.
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
    """Bytes that the running workers take together, and the `MemoryResult` of each worker.

    ``peak_bytes`` adds up peaks that may have been at different times.
    """

    workers: list[tuple[PoolWorker, MemoryResult]]
    active_bytes: int
    peak_bytes: int
    buffer_bytes: int
    sequence_bytes: int
    prompt_cache_bytes: int


class Pool:
    """Workers for any number of models: ``async with mlxwire.Pool() as pool``.

    byte_budget: bytes that the weights of all loaded models may take together. When a model
        needs room, the model that was unused for longest is ended first. None: no limit.
    patience: seconds that a request waits for busy models to make room.

    ``command`` and the other options hold for each worker, as `Worker` explains them. A worker
    of a pool is always started again after a crash, as ``restart`` says.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        byte_budget: int | None = None,
        patience: float = 30.0,
        restart: RestartPolicy = USUAL_POLICY,
        unload_after: float | None = None,
        on_change: Callable[[WorkerChange], object] | None = None,
        **options: Unpack[ProcessOptions],
    ) -> None:
        self._make_worker = partial(
            Worker, command, restart=restart, unload_after=unload_after, **options
        )
        self._make_worker()  # never started: it checks the options now
        check_count("byte_budget", byte_budget)
        check_seconds("patience", patience)
        check_callback("on_change", on_change)
        self._room = Room(byte_budget, patience)
        self._on_change = on_change
        self._groups: list[ModelGroup] = []
        self._closed = False

    @property
    def workers(self) -> list[PoolWorker]:
        """All workers, whether they run or not."""
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
        """Load a model into ``workers`` workers of its own, as many as there is room for now.

        on_demand: start each worker only when a request needs it. weight_bytes: the size of the
        model until a load reports it; default: the size of the weights in its folder. The other
        arguments are those of `Worker.load`. Closing the model ends its workers.

        Raises: OutOfMemory, Overloaded, and the errors of `Worker.start` and `Worker.load`.
        """
        if self._closed:
            raise ShuttingDown(POOL_CLOSED)
        for group in self._groups[:1]:
            group.check_loop()
        request_options(options)
        check_count("workers", workers, least=1)
        check_count("weight_bytes", weight_bytes)
        check_seconds("timeout", timeout)
        check_callback("on_progress", on_progress)
        call = LoadCall(path=path, timeout=timeout, on_progress=on_progress, options=options)
        group = ModelGroup(
            call,
            self._room,
            workers=workers,
            make_worker=self._make_worker,
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
        """Ask each running worker for its metrics, and return the sums too.

        This starts no worker, and does not count as use for ``unload_after``.
        """
        found = await self._ask_running("metrics", WorkerMetrics, timeout)
        return PoolMetrics(workers=found, **_sums(PoolMetrics, found))

    async def memory(self, *, timeout: float | None = None) -> PoolMemory:
        """Ask each running worker for the memory in use, as `metrics` does.

        Limits to memory are options of `load`.
        """
        found = await self._ask_running("memory", MemoryResult, timeout)
        return PoolMemory(workers=found, **_sums(PoolMemory, found))

    async def restart(self, *, drain: float = 30.0) -> None:
        """Restart every running worker, one after the other; the others serve meanwhile.

        Requests of a worker have ``drain`` seconds to end. Raises: the error of a start that
        failed; the workers after that one are not restarted.
        """
        check_seconds("drain", drain)
        for group in list(self._groups):
            await group.restart(drain)

    async def close(self) -> None:
        """End all workers for good. Safe to call again."""
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
        self, command: str, kind: type[Figures], timeout: float | None
    ) -> list[tuple[PoolWorker, Figures]]:
        """Send a command to each running worker; leave out those that die meanwhile.

        Raises: the error of a worker that lives.
        """
        running = [
            member
            for group in self._groups
            for member in group.members
            if member.state in ("ready", "draining")
        ]
        connections = [member.series.child.ready() for member in running]
        asked = (_figures(connection, command, kind, timeout) for connection in connections)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = []
        for member, connection, answer in zip(running, connections, answers, strict=True):
            if not isinstance(answer, BaseException):
                found.append((_describe(member), answer))
            elif not isinstance(answer, MlxwireError) or connection.failure is None:
                raise answer
        return found


async def _figures(
    connection: Connection, command: str, kind: type[Figures], timeout: float | None
) -> Figures:
    return convert_reply(await ask(connection, command, {}, timeout), kind)


def _describe(member: Member) -> PoolWorker:
    return PoolWorker(
        path=member.name,
        state=member.state,
        pid=member.worker.pid if member.holds_room else None,
        in_flight=member.in_flight,
        weight_bytes=member.weight_bytes,
    )


def _sums(
    kind: type[PoolMetrics | PoolMemory], found: list[tuple[PoolWorker, Figures]]
) -> dict[str, Any]:
    names = [field.name for field in fields(kind) if field.name != "workers"]
    return {name: sum(getattr(figures, name) for _, figures in found) for name in names}
