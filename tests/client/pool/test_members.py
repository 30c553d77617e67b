"""A pool's workers at their edges: which is chosen, who frees room, and what a close leaves."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

import mlxwire
from mlxwire.pool.group import LEAD, Member
from support import fake_pool
from support.fake_process import FakeProcess, Processes
from support.virtual_time import now, run

SLOW_RESTARTS = mlxwire.RestartPolicy(max_restarts=3, window=100, backoff_min=10, jitter=0)
pooled = partial(fake_pool.pooled, restart=SLOW_RESTARTS)


def chats(process: FakeProcess) -> int:
    return [request["cmd"] for request in process.requests].count("chat")


async def ask(model: mlxwire.Model, count: int = 1) -> list[asyncio.Task[str]]:
    """Begin ``count`` requests with the same beginning, one after the other."""
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(model.chat("the same").text()))
        await asyncio.sleep(0.1)
    return tasks


def give_up(*groups: list[asyncio.Task[str]]) -> None:
    for tasks in groups:
        for task in tasks:
            task.cancel()


def test_a_warm_cache_is_worth_a_lead_and_no_more(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        asked = await ask(model, LEAD + 1)
        assert [chats(process) for process in processes.all] == [LEAD + 1, 0]
        asked += await ask(model)
        assert [chats(process) for process in processes.all] == [LEAD + 1, 1]
        give_up(asked)

    pooled(test)


def test_a_full_worker_is_rather_asked_than_one_that_is_starting_again(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        processes.last.die()
        slots = model.loaded.parallel_slots
        asked = await ask(model, slots + 1)
        assert chats(processes.all[0]) == slots + 1
        give_up(asked)

    pooled(test)


def test_a_worker_that_is_starting_again_is_rather_waited_for_than_one_that_failed(
    processes: Processes,
):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        first, second = processes.all
        processes.fates.append("no model")
        first.die()
        await asyncio.sleep(15)
        second.die()
        assert [worker.state for worker in pool.workers] == ["failed", "restarting"]
        assert await model.generate("p").text() == "t"

    pooled(test)


def test_where_all_have_failed_their_verdict_is_told(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m")
        processes.fates.append("no model")
        processes.last.die()
        await asyncio.sleep(15)
        with pytest.raises(mlxwire.ModelNotFound):
            await model.generate("p").text()

    pooled(test)


def test_the_only_worker_that_does_not_start_says_why(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", on_demand=True)
        processes.fates.append("no model")
        with pytest.raises(mlxwire.ModelNotFound):
            await model.generate("p").text()

    pooled(test)


def test_a_request_counts_as_use_of_its_worker(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        used, _ = [await pool.load(path, weight_bytes=40) for path in ("used", "unused")]
        await asyncio.sleep(1)
        await used.generate("p").text()
        await asyncio.sleep(1)
        await pool.load("new", weight_bytes=40)
        assert {w.path: w.state for w in pool.workers if w.pid} == {
            "used": "ready",
            "new": "ready",
        }

    processes.weight_bytes = 40
    pooled(test, byte_budget=100)


def test_a_worker_that_is_on_its_way_out_is_seen_out(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("old", weight_bytes=60)
        old = processes.last
        old.quit_seconds = 2
        await asyncio.sleep(51)
        assert old.alive
        processes.on_spawn = lambda _: alive.append(old.alive)
        await pool.load("new", weight_bytes=60)

    alive: list[bool] = []
    processes.weight_bytes = 60
    pooled(test, byte_budget=100, unload_after=50)
    assert alive == [False]


@pytest.mark.parametrize("how", ["is closed", "fails for good"])
def test_room_that_a_busy_model_leaves_is_taken_at_once(processes: Processes, how: str):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        busy = await pool.load("busy", weight_bytes=60)
        worker = processes.last
        worker.quit_seconds = 2
        asking = await ask(busy)
        loading = asyncio.create_task(pool.load("new", weight_bytes=60))
        await asyncio.sleep(1)
        if how == "is closed":
            await busy.close()
        else:
            processes.fates.append("no model")
            worker.die()
            asking.append(asyncio.create_task(busy.chat("again").text()))
        await loading
        assert now() < 20
        await asyncio.gather(*asking, return_exceptions=True)

    processes.weight_bytes = 60
    pooled(test, byte_budget=100, patience=60)


def test_a_model_that_is_larger_than_was_thought_makes_room_for_its_first_request(
    processes: Processes,
):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("old", weight_bytes=60)
        large = await pool.load("large", on_demand=True, weight_bytes=10)
        await large.generate("p").text()
        assert [worker.state for worker in pool.workers] == ["stopped", "ready"]

    processes.weight_bytes = 60
    pooled(test, byte_budget=100)


def test_the_cache_of_a_single_worker_can_be_asked_for_anything(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m")
        asking = asyncio.create_task(model.cache.clear())
        assert (await processes.last.request("cache"))["action"] == "clear"
        asking.cancel()

    pooled(test)


def test_models_that_were_closed_are_forgotten(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        for _ in range(3):
            await (await pool.load("m")).close()
        assert not any(process.alive for process in processes.all)
        processes.all.clear()  # they would keep who listens to them
        gc.collect()
        assert not any(isinstance(each, Member) for each in gc.get_objects())

    gc.collect()
    pooled(test)


def test_leaving_a_pool_ends_its_workers(processes: Processes):
    async def main() -> None:
        async with mlxwire.Pool(["fake"], liveness=None) as pool:
            await pool.load("m", workers=2)
        assert [process.alive for process in processes.all] == [False, False]

    run(main())


@pytest.mark.usefixtures("processes")
def test_a_pools_model_belongs_to_its_loop():
    async def begin() -> mlxwire.Model:
        return await mlxwire.Pool(["fake"], liveness=None).load("m")

    async def use(model: mlxwire.Model) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await model.info()

    model = run(begin())
    run(use(model))


def test_room_is_waited_for_while_another_model_is_starting(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        processes.fates.append("silent")
        slow = await pool.load("slow", on_demand=True, weight_bytes=60)
        asking = await ask(slow)
        with pytest.raises(mlxwire.Overloaded):
            await pool.load("new", weight_bytes=60)
        assert now() >= 5
        give_up(asking)

    pooled(test, byte_budget=100, patience=5)
