"""The workers of one model in a pool, and the choice of one for each request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from ..connection.child import LoadCall, WorkerState
from ..connection.connection import Connection
from ..errors import MlxwireError, UnsupportedCapability
from ..requests.pending import PendingRequest
from ..requests.route import ModelRoute, RequestLimits
from ..restart.policy import WorkerChange
from ..worker import Worker
from .affinity import PrefixMemory, beginnings
from .room import Room

USUAL_SLOTS = 8
"""Requests that a worker is taken to run together, until a load tells how many."""
LEAD = 2
"""The most requests that a worker may have above the least busy one (and twice that one's own) and
still get a prompt that it has cached. Without a limit, a system text that all chats share would
send them all to one worker."""


class MakeWorker(Protocol):
    """Creates a worker with ``restart``; all its options but ``on_change`` are fixed."""

    def __call__(self, *, on_change: Callable[[WorkerChange], object]) -> Worker: ...


class Member:
    """One worker of a group, and the prompts it computed lately; a `Tenant` of the room."""

    def __init__(self, group: ModelGroup, make_worker: MakeWorker, call: LoadCall) -> None:
        self.prefixes = PrefixMemory()
        self.last_used = 0.0
        self.worker = make_worker(on_change=self._changed)
        self.series = self.worker._series("Pool")
        self.series.bind()
        self._planned = self.series.plan(call)
        self._group = group

    @property
    def name(self) -> str:
        """The path of the model."""
        return os.fspath(self._group.call.path)

    @property
    def weight_bytes(self) -> int:
        """The bytes that the model takes."""
        return self._group.weight_bytes

    @property
    def state(self) -> WorkerState:
        """The state of the worker."""
        return self.worker.state

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply, or for this worker."""
        return self.worker.in_flight

    @property
    def cold(self) -> bool:
        """True if the worker has to be started first."""
        return self.state == "stopped"

    @property
    def holds_room(self) -> bool:
        """True while the worker is in memory, or is being started, or has not exited yet."""
        if self.state in ("stopped", "failed", "closed"):
            return self.series.child.alive
        return True

    @property
    def starting(self) -> bool:
        """True while a process is being started."""
        return self.state == "starting"

    @property
    def idle(self) -> asyncio.Event | None:
        """The event, set while no request is in flight; None unless the worker is ready."""
        return self.series.child.connection.idle if self.state == "ready" else None

    async def leave(self) -> None:
        """End the process and wait for its exit; the next request starts another."""
        await self.worker.stop()
        await self.series.child.close()

    def _changed(self, change: WorkerChange) -> None:
        if change.kind == "started":
            self.prefixes.forget()
        elif change.kind == "ready":
            self._group.route.loaded = self._planned.loaded
        self._group.changed(change)


class ModelGroup:
    """Implements `Connector`: finds the worker of a model that suits a request best."""

    def __init__(
        self,
        call: LoadCall,
        room: Room,
        *,
        workers: int,
        make_worker: MakeWorker,
        weight_bytes: int | None,
        on_change: Callable[[WorkerChange], object] | None,
    ) -> None:
        self.call = call
        self.route = ModelRoute(self)
        self.loop = asyncio.get_running_loop()
        self._room = room
        self._on_change = on_change
        self._estimate = _size_of(call) if weight_bytes is None else weight_bytes
        self.members = [Member(self, make_worker, call) for _ in range(workers)]
        room.tenants.extend(self.members)

    @property
    def limits(self) -> RequestLimits:
        """The limits of each request."""
        return self.members[0].series.limits

    @property
    def weight_bytes(self) -> int:
        """The size as the load reported it; before the first load, the caller's or the folder's."""
        loaded = self.route.loaded
        return loaded.weight_bytes if loaded is not None else self._estimate

    def check_loop(self) -> None:
        """Check the running loop. Raises: RuntimeError on any loop but the pool's."""
        self.members[0].series.check_loop()

    async def connect(self, request: PendingRequest, /) -> Connection:
        """Return the connection of the best worker; start the worker if needed.

        Raises: Overloaded or OutOfMemory if there is no room for it, and the errors of its start.
        """
        self._check_command(request)
        prompt = beginnings(request.fields)
        member = self._choose(prompt)
        if member.cold:
            member = await self._warm(member)
        member.last_used = self.loop.time()
        member.prefixes.remember(prompt)
        return await member.series.connect(request)

    async def start(self) -> None:
        """Start as many workers as there is room for, at least one. Raises: as `connect`."""
        for number, member in enumerate(self.members):
            if await self._room.make_for(member, wait=number == 0):
                member.last_used = self.loop.time()
                await member.worker.start()
        await self._room.settle()

    async def restart(self, drain: float) -> None:
        """Restart the workers that run, one after the other."""
        for member in self.members:
            if not member.cold:
                await member.worker.restart(drain=drain)

    async def close(self, why: str) -> None:
        """End all workers for good; later requests fail with the message ``why``."""
        self.route.close(why)
        await asyncio.gather(*(member.worker.close() for member in self.members))
        for member in self.members:
            self._room.tenants.remove(member)
        self._room.notice()

    def changed(self, change: WorkerChange) -> None:
        """Pass on a change of a member."""
        self._room.notice()
        if self._on_change is not None:
            self._on_change(change)

    def _choose(self, prompt: Sequence[int]) -> Member:
        """Return the best member for a prompt.

        The best member has most of the prompt's beginning in its cache, has a free slot, and is
        not far busier than the others. If there is none, the least busy member is chosen.
        """
        warm = [member for member in self.members if member.state in ("ready", "starting")]
        cold = [member for member in self.members if member.cold]
        free = [member for member in warm if member.in_flight < self._slots()]
        if free:
            most = 2 * min(member.in_flight for member in free) + LEAD
            near = [member for member in free if member.in_flight <= most]
            return min(near, key=lambda m: (-m.prefixes.depth(prompt), m.in_flight))
        if cold:
            return min(cold, key=lambda member: member.in_flight)
        living = [member for member in self.members if member.state != "failed"]
        return min(warm or living or self.members, key=lambda member: member.in_flight)

    async def _warm(self, member: Member) -> Member:
        """Start a member if there is room for it; otherwise return a member that runs."""
        running = [other for other in self.members if other.state == "ready"]
        if await self._room.make_for(member, wait=not running):
            member.last_used = self.loop.time()
            try:
                await member.worker.start()
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
        if len(self.members) == 1:
            return
        if request.command == "adapter" or request.fields.get("load_as") is not None:
            raise UnsupportedCapability(
                f"`{self.call.path}` has {len(self.members)} workers, and an adapter is loaded into "
                "one of them alone. To use adapters by name, load the model with one worker"
            )
        if request.command == "cache" and request.fields.get("action") != "warm":
            raise UnsupportedCapability(
                f"`{self.call.path}` has {len(self.members)} workers, each with a prompt cache "
                "of its own, so the pool can only `warm` them. To use the other actions, load "
                "the model with one worker"
            )


def _size_of(call: LoadCall) -> int:
    """Return the bytes of the weights in a model's folder; 0 if there is no such folder."""
    try:
        with os.scandir(call.path) as entries:
            return sum(e.stat().st_size for e in entries if e.name.endswith(".safetensors"))
    except OSError:
        return 0
