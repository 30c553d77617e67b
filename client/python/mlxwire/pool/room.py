"""Share a budget of memory between models: which ones end when another model needs the room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ..errors import OutOfMemory, Overloaded


class Tenant(Protocol):
    """A worker that uses memory while its model is loaded."""

    @property
    def name(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def last_used(self) -> float: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def holds_room(self) -> bool: ...
    @property
    def starting(self) -> bool:
        """True while a request starts this worker.

        Such a worker is never ended for room: the request would only start it again.
        """
        ...

    @property
    def idle(self) -> asyncio.Event | None:
        """The event, set while no request is in flight; None while it can't be awaited."""
        ...

    async def leave(self) -> None:
        """End the worker; return when its memory is free."""
        ...


class Room:
    """Shares the budget of memory; serves one tenant after the other.

    ``limit``: bytes that all tenants may take together, None for no limit. ``patience``: seconds
    that one of them may wait for room.
    """

    def __init__(self, limit: int | None, patience: float) -> None:
        self.tenants: list[Tenant] = []
        self._limit = limit
        self._patience = patience
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def used_bytes(self) -> int:
        """The bytes that the loaded tenants take together."""
        return sum(tenant.weight_bytes for tenant in self._holders())

    def notice(self) -> None:
        """Wake the tenant that waits for room, because another one has changed."""
        self._changed.set()

    async def make_for(self, tenant: Tenant, *, wait: bool) -> bool:
        """End idle tenants, least recently used first, until ``tenant`` fits.

        With ``wait``, wait for busy tenants to become idle; without it, return False if there is
        no room. The caller has to start the tenant at once, before it awaits anything.

        Raises: OutOfMemory if the tenant can never fit, Overloaded if it waited too long.
        """
        if self._limit is None or tenant.holds_room:
            return True
        if not wait and self._lock.locked():
            return False
        if tenant.weight_bytes > self._limit:
            raise OutOfMemory(
                f"the model {tenant.name} has {tenant.weight_bytes:,} bytes, but the pool may use "
                f"only {self._limit:,}; raise its byte_budget, or load a smaller model",
                retryable=False,
                data={"weight_bytes": tenant.weight_bytes, "byte_budget": self._limit},
            )
        try:
            async with asyncio.timeout(self._patience), self._lock:
                return await self._make(tenant, self._limit, wait)
        except TimeoutError:
            raise Overloaded(
                f"no room became free for {tenant.name} within {self._patience:g} s: all of "
                f"{', '.join(sorted({holder.name for holder in self._holders()}))} are busy. "
                "Try again later, or raise the pool's byte_budget",
                data={"weight_bytes": tenant.weight_bytes, "byte_budget": self._limit},
            ) from None

    async def settle(self) -> None:
        """End idle tenants if a load showed that a model is larger than assumed."""
        async with self._lock:
            while self._limit is not None and self.used_bytes > self._limit:
                idle = self._idle()
                newest = max(self._holders(), key=lambda holder: holder.last_used)
                if not idle or idle == [newest]:
                    return
                await min(idle, key=lambda holder: holder.last_used).leave()

    async def _make(self, tenant: Tenant, limit: int, wait: bool) -> bool:
        while not tenant.holds_room and self.used_bytes + tenant.weight_bytes > limit:
            idle = self._idle()
            if idle:
                await min(idle, key=lambda holder: holder.last_used).leave()
            elif wait:
                await self._until_something_changes()
            else:
                return False
        return True

    async def _until_something_changes(self) -> None:
        self._changed.clear()
        events = [self._changed, *(holder.idle for holder in self._holders())]
        waits = [asyncio.ensure_future(event.wait()) for event in events if event is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _holders(self) -> Sequence[Tenant]:
        return [tenant for tenant in self.tenants if tenant.holds_room]

    def _idle(self) -> list[Tenant]:
        return [h for h in self._holders() if not h.in_flight and not h.starting]
