"""Room for tenants that need no worker: who leaves, who waits, and who is never asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import mlxwire
from mlxwire.pool.room import Room
from support.virtual_time import now, run

LIMIT = 100
PATIENCE = 30.0


class Tenant:
    """Takes room as the test says; leaving takes a second."""

    def __init__(
        self,
        room: Room,
        name: str,
        weight_bytes: int,
        *,
        holds: bool = False,
        busy: bool = False,
    ) -> None:
        self.name = name
        self.weight_bytes = weight_bytes
        self.holds_room = holds
        self.starting = False
        self.last_used = now()
        self.in_flight = int(busy)
        self.idle: asyncio.Event | None = None
        self.left = 0
        room.tenants.append(self)

    async def leave(self) -> None:
        self.left += 1
        await asyncio.sleep(1)
        self.holds_room = False

    async def enter(self, room: Room, *, wait: bool = True) -> bool:
        """Take the room that is made for it, as a start does."""
        made = await room.make_for(self, wait=wait)
        if made:
            self.holds_room = True
            assert room.used_bytes <= LIMIT
        return made


def with_room(test: Callable[[Room], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Room(LIMIT, PATIENCE))

    run(main())


def test_what_fits_exactly_has_room_and_nobody_leaves():
    async def test(room: Room) -> None:
        idle = Tenant(room, "idle", 40, holds=True)
        assert await Tenant(room, "new", 60).enter(room)
        await room.settle()
        assert idle.left == 0

    with_room(test)


def test_a_model_as_large_as_all_the_room_may_have_it():
    async def test(room: Room) -> None:
        assert await Tenant(room, "all", LIMIT).enter(room)
        with pytest.raises(mlxwire.OutOfMemory):
            await Tenant(room, "more", LIMIT + 1).enter(room)

    with_room(test)


def test_a_tenant_that_does_not_wait_has_only_idle_ones_leave():
    async def test(room: Room) -> None:
        idle = Tenant(room, "idle", 60, holds=True)
        new = Tenant(room, "new", 60)
        assert await new.enter(room, wait=False)
        assert idle.left == 1
        new.in_flight = 1
        assert not await idle.enter(room, wait=False)
        assert now() == 1

    with_room(test)


def test_a_tenant_with_room_is_never_asked_how_large_it_became():
    async def test(room: Room) -> None:
        grown = Tenant(room, "grown", LIMIT + 1, holds=True, busy=True)
        new = Tenant(room, "new", 60)
        waiting = asyncio.create_task(new.enter(room))
        await asyncio.sleep(1)
        assert await room.make_for(grown, wait=False)
        waiting.cancel()

    with_room(test)


def test_a_waiting_tenant_is_not_turned_away_because_another_waits_too():
    async def test(room: Room) -> None:
        busy = Tenant(room, "busy", LIMIT, holds=True, busy=True)
        tenants = [Tenant(room, name, 50) for name in ("first", "second")]
        waiting = [asyncio.create_task(each.enter(room)) for each in tenants]
        await asyncio.sleep(5)
        assert not await Tenant(room, "third", 50).enter(room, wait=False)
        busy.in_flight = 0
        room.notice()
        assert await asyncio.gather(*waiting) == [True, True]

    with_room(test)


def test_two_that_need_room_at_once_do_not_both_send_the_same_one_away():
    async def test(room: Room) -> None:
        idle = Tenant(room, "idle", LIMIT, holds=True)
        tenants = [Tenant(room, name, 50) for name in ("first", "second")]
        assert await asyncio.gather(*(each.enter(room) for each in tenants)) == [True, True]
        assert idle.left == 1

    with_room(test)


def test_settling_does_not_send_away_who_is_leaving():
    async def test(room: Room) -> None:
        old = Tenant(room, "old", 60, holds=True)
        entering = asyncio.create_task(Tenant(room, "new", 60).enter(room))
        await asyncio.sleep(0.5)
        Tenant(room, "grown", 60, holds=True, busy=True)
        await room.settle()
        assert old.left == 1
        entering.cancel()

    with_room(test)


def test_settling_ends_where_all_are_busy():
    async def test(room: Room) -> None:
        tenants = [Tenant(room, name, 60, holds=True, busy=True) for name in "ab"]
        await room.settle()
        assert [each.left for each in tenants] == [0, 0]

    with_room(test)


def test_a_tenant_that_gets_room_while_it_waits_has_it():
    async def test(room: Room) -> None:
        Tenant(room, "busy", LIMIT, holds=True, busy=True)
        new = Tenant(room, "new", 50)
        waiting = asyncio.create_task(room.make_for(new, wait=True))
        await asyncio.sleep(1)
        new.holds_room = True
        room.notice()
        assert await waiting
        assert now() == 1

    with_room(test)


def test_a_tenant_that_waited_leaves_no_tasks_behind():
    async def test(room: Room) -> None:
        busy = Tenant(room, "busy", LIMIT, holds=True, busy=True)
        busy.idle = asyncio.Event()
        waiting = asyncio.create_task(Tenant(room, "new", 50).enter(room))
        for _ in range(10):
            await asyncio.sleep(1)
            room.notice()
        await asyncio.sleep(1)
        # This test, the one that waits, and its waits for the room and for the busy one.
        assert len(asyncio.all_tasks()) == 4
        busy.in_flight = 0
        busy.idle.set()
        assert await waiting

    with_room(test)
