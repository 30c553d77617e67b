"""The workers of one model in a pool, and which of them a request goes to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from ..connection.connection import Connection
from ..connection.route import ModelRoute
from ..errors import MlxwireError, UnsupportedCapability
from ..options import Path
from ..requests.pending import PendingRequest
from ..requests.request_limits import RequestLimits
from ..restart.supervisor import Supervisor
from ..restart.worker_states import WorkerChange
from .affinity import PrefixMemory, beginnings
from .room import Room

USUAL_SLOTS = 8
"""How many requests a worker is taken to run together until its model says how many."""
LEAD = 2
"""By so many requests, and as many again as the least busy worker has, another may be busier and
still get what its cache makes cheaper: else a system text that all share would leave one alone."""

LoadCall = Callable[[Supervisor], ModelRoute]
"""Has a supervisor load the group's model at each start."""


class Supervise(Protocol):
    """Makes a supervisor, all but its listener settled."""

    def __call__(self, *, on_change: Callable[[WorkerChange], object]) -> Supervisor: ...


class Member:
    """One worker of a group, and what it was asked lately; a `Tenant` of the pool's room."""

    def __init__(self, group: ModelGroup, supervise: Supervise, load: LoadCall) -> None:
        self.prefixes = PrefixMemory()
        self.last_used = 0.0
        self.supervisor = supervise(on_change=self._changed)
        self.supervisor.bind()
        self._planned = load(self.supervisor)
        self._group = group

    @property
    def name(self) -> str:
        """Its model's path."""
        return os.fspath(self._group.path)

    @property
    def weight_bytes(self) -> int:
        """What its model takes."""
        return self._group.weight_bytes

    @property
    def in_flight(self) -> int:
        """Requests that it owes their final, or that wait for it."""
        return self.supervisor.in_flight

    @property
    def cold(self) -> bool:
        """Whether it has to be started first."""
        return self.supervisor.state == "stopped"

    @property
    def holds_room(self) -> bool:
        """Whether it is in memory, or about to be, or not yet quite gone."""
        worker = self.supervisor.worker
        if self.supervisor.state in ("stopped", "failed", "closed"):
            return worker.pid is not None and worker.returncode is None
        return True

    @property
    def starting(self) -> bool:
        """Whether its worker is being started, for what has not reached it yet."""
        return self.supervisor.state == "starting"

    @property
    def idle(self) -> asyncio.Event | None:
        """Set while its worker owes nothing."""
        if self.supervisor.state != "ready":
            return None
        return self.supervisor.worker.connection.idle

    async def leave(self) -> None:
        """End its worker; the next request starts it again."""
        await self.supervisor.stop()
        await self.supervisor.worker.close()

    def _changed(self, change: WorkerChange) -> None:
        if change.kind == "started":
            self.prefixes.forget()
        elif change.kind == "ready":
            self._group.route.loaded = self._planned.loaded
        self._group.changed(change)


class ModelGroup:
    """Implements `Route`: the way to whichever of a model's workers is the best for a request."""

    def __init__(
        self,
        path: Path,
        room: Room,
        *,
        workers: int,
        supervise: Supervise,
        load: LoadCall,
        weight_bytes: int | None,
        on_change: Callable[[WorkerChange], object] | None,
    ) -> None:
        self.path = path
        self.route = ModelRoute(self)
        self.loop = asyncio.get_running_loop()
        self._room = room
        self._on_change = on_change
        self._estimate = _size_of(path) if weight_bytes is None else weight_bytes
        self.members = [Member(self, supervise, load) for _ in range(workers)]
        room.tenants.extend(self.members)

    @property
    def limits(self) -> RequestLimits:
        """What each request may take."""
        return self.members[0].supervisor.limits

    @property
    def weight_bytes(self) -> int:
        """As its `load` said; before the first as the caller did, or the folder's size."""
        loaded = self.route.loaded
        return loaded.weight_bytes if loaded is not None else self._estimate

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than the pool's."""
        self.members[0].supervisor.check_loop()

    async def connect(self, request: PendingRequest, /) -> Connection:
        """The connection of the best worker, started and waited for if need be.

        Raises: Overloaded or OutOfMemory where there is no room for it, and why it can't run.
        """
        self._check_command(request)
        prompt = beginnings(request.fields)
        member = self._choose(prompt)
        if member.cold:
            member = await self._warm(member)
        member.last_used = self.loop.time()
        member.prefixes.remember(prompt)
        return await member.supervisor.connect(request)

    async def start(self) -> None:
        """Start all of its workers, as far as there is room. Raises: as `connect`."""
        for number, member in enumerate(self.members):
            if await self._room.make_for(member, wait=number == 0):
                member.last_used = self.loop.time()
                await member.supervisor.start()
        await self._room.settle()

    async def restart(self, drain: float) -> None:
        """Start those that run anew, one after the other."""
        for member in self.members:
            if not member.cold:
                await member.supervisor.restart(drain=drain)

    async def close(self, why: str) -> None:
        """End all of its workers for good."""
        self.route.close(why)
        await asyncio.gather(*(member.supervisor.close() for member in self.members))
        for member in self.members:
            self._room.tenants.remove(member)
        self._room.notice()

    def changed(self, change: WorkerChange) -> None:
        """Something became of a member."""
        self._room.notice()
        if self._on_change is not None:
            self._on_change(change)

    def _choose(self, prompt: Sequence[int]) -> Member:
        """Where the prompt's beginning is cached, if a slot is free there and the worker is not
        far busier than the others; else the least busy."""
        warm = [m for m in self.members if m.supervisor.state in ("ready", "starting")]
        cold = [member for member in self.members if member.cold]
        free = [member for member in warm if member.in_flight < self._slots()]
        if free:
            most = 2 * min(member.in_flight for member in free) + LEAD
            near = [member for member in free if member.in_flight <= most]
            return min(near, key=lambda m: (-m.prefixes.depth(prompt), m.in_flight))
        if cold:
            return min(cold, key=lambda m: m.in_flight)
        living = [member for member in self.members if member.supervisor.state != "failed"]
        return min(warm or living or self.members, key=lambda member: member.in_flight)

    async def _warm(self, member: Member) -> Member:
        """Start a worker where there is room for it; where that fails one that runs will do."""
        running = [other for other in self.members if other.supervisor.state == "ready"]
        if await self._room.make_for(member, wait=not running):
            member.last_used = self.loop.time()
            try:
                await member.supervisor.start()
            except MlxwireError:
                if not running:
                    raise
            else:
                await self._room.settle()
                return member
        return min(running, key=lambda other: other.in_flight)

    def _slots(self) -> int:
        return self.route.loaded.parallel_slots if self.route.loaded else USUAL_SLOTS

    def _check_command(self, request: PendingRequest) -> None:
        if request.command != "cache" or len(self.members) == 1:
            return
        if request.fields.get("action") != "warm":
            raise UnsupportedCapability(
                f"`{self.path}` has {len(self.members)} workers, each with a prompt cache of "
                "its own; of these only `warm` can be asked through the pool. Give it one worker"
            )


def _size_of(path: Path) -> int:
    """The bytes of a model folder's weights; 0 where it is no folder here."""
    try:
        with os.scandir(path) as entries:
            return sum(e.stat().st_size for e in entries if e.name.endswith(".safetensors"))
    except OSError:
        return 0
