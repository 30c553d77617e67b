"""The pool over fake processes, in virtual time: routing, crashes, rolling restart, room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import mlxwire
from support.fake_pool import pooled
from support.fake_process import FakeProcess, Processes
from support.virtual_time import now


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content} for content in contents]


def loads_of(processes: Processes, path: str) -> list[FakeProcess]:
    return [p for p in processes.all if [load["path"] for load in p.loads] == [path]]


# -- routing -----------------------------------------------------------------------------


def test_requests_go_to_whichever_worker_has_the_least_to_do(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=3)
        tasks = [asyncio.create_task(model.generate(str(n)).text()) for n in range(9)]
        await asyncio.sleep(1)
        asked = [
            [r for r in process.requests if r["cmd"] == "generate"] for process in processes.all
        ]
        assert [len(requests) for requests in asked] == [3, 3, 3]
        for process, requests in zip(processes.all, asked, strict=True):
            for request in requests:
                process.token(request)
                process.done(request)
        assert await asyncio.gather(*tasks) == ["t"] * 9

    pooled(test)


def test_a_chat_goes_back_to_where_its_beginning_is_cached(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        chats = [turns("a long system text"), turns("another"), turns("a third")]
        for _ in range(4):
            for chat in chats:
                await model.chat(chat).text()
                chat += turns("more")
        for process in processes.all:
            firsts = {
                r["messages"][0]["content"] for r in process.requests if r["cmd"] == "chat"
            }
            count = sum(r["cmd"] == "chat" for r in process.requests)
            assert count == 4 * len(firsts), "each chat stays on one worker"

    pooled(test)


def test_a_system_text_that_all_share_leaves_no_worker_idle(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=3, parallel_slots=64)
        system = {"role": "system", "content": "Be brief."}
        chats = [[system, *turns(f"question {n}")] for n in range(12)]
        tasks = [asyncio.create_task(model.chat(chat).text()) for chat in chats]
        await asyncio.sleep(1)
        counts = [sum(r["cmd"] == "chat" for r in p.requests) for p in processes.all]
        assert sorted(counts) == [4, 4, 4]
        for task in tasks:
            task.cancel()

    pooled(test)


def test_a_worker_whose_slots_are_full_is_not_waited_for(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        assert model.loaded.parallel_slots == 4
        tasks = []

        async def ask(*contents: str) -> list[int]:
            for content in contents:
                tasks.append(asyncio.create_task(model.chat(turns(content)).text()))
                await asyncio.sleep(0.1)
            return [sum(r["cmd"] == "chat" for r in p.requests) for p in processes.all]

        assert await ask("a", "b", "c", "d") == [2, 2]
        assert await ask("the same", "the same") == [4, 2]
        assert await ask("the same") == [4, 3], "there is no slot left where it is cached"
        for task in tasks:
            task.cancel()

    pooled(test)


def test_what_a_dead_worker_had_cached_attracts_nobody(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        chat = turns("a beginning")
        await model.chat(chat).text()
        first = processes.all[0]
        assert any(r["cmd"] == "chat" for r in first.requests)
        first.die()
        await model.chat(chat).text()
        assert any(r["cmd"] == "chat" for r in processes.all[1].requests)
        await asyncio.sleep(10)
        await model.chat(chat).text()
        assert not any(r["cmd"] == "chat" for r in processes.all[2].requests)

    pooled(test)


def test_one_crash_costs_one_workers_requests(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        tasks = [asyncio.create_task(model.generate(str(n)).text()) for n in range(4)]
        await asyncio.sleep(1)
        first, second = processes.all
        first.die()
        for request in [r for r in second.requests if r["cmd"] == "generate"]:
            second.token(request)
            second.done(request)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results.count("t") == 2
        assert sum(isinstance(result, mlxwire.WorkerCrashed) for result in results) == 2
        assert {worker.state for worker in pool.workers} == {"ready", "restarting"}

    pooled(test)


def test_a_worker_in_a_crash_loop_leaves_its_share_to_the_others(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        processes.fates.append("no model")
        processes.all[0].die()
        await asyncio.sleep(10)
        assert sorted(worker.state for worker in pool.workers) == ["failed", "ready"]
        assert await model.generate("p").text() == "t"

    pooled(test)


def test_a_rolling_restart_keeps_answering(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2)
        first, second = processes.all
        running = asyncio.create_task(model.generate("runs").text())
        request = await first.request("generate")
        restarting = asyncio.create_task(pool.restart())
        await asyncio.sleep(5)
        assert first.alive
        beside = asyncio.create_task(model.generate("comes").text())
        other = await second.request("generate")
        second.done(other)
        assert await beside == ""
        first.done(request)
        await running
        await restarting
        assert not first.alive
        assert not second.alive
        assert [worker.state for worker in pool.workers] == ["ready", "ready"]
        assert len(processes.all) == 4

    pooled(test)


def test_a_second_worker_is_started_only_when_the_first_is_full(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2, on_demand=True)
        assert processes.all == []
        tasks = [asyncio.create_task(model.generate("p").text())]
        await asyncio.sleep(1)
        slots = model.loaded.parallel_slots
        tasks += [asyncio.create_task(model.generate("p").text()) for _ in range(slots - 1)]
        await asyncio.sleep(1)
        assert len(processes.all) == 1
        tasks.append(asyncio.create_task(model.generate("p").text()))
        await asyncio.sleep(1)
        assert len(processes.all) == 2
        for task in tasks:
            task.cancel()

    pooled(test)


# -- room --------------------------------------------------------------------------------


def test_a_model_is_loaded_by_its_first_request(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", on_demand=True, context_len=99)
        with pytest.raises(mlxwire.ModelNotLoaded, match="first request"):
            _ = model.loaded
        assert await model.generate("p").text() == "t"
        assert model.loaded.path == "m"
        assert processes.last.loads[0]["context_len"] == 99

    pooled(test)


def test_the_model_that_was_not_used_for_longest_leaves(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        models = [
            await pool.load(path, on_demand=True, weight_bytes=40) for path in ("a", "b", "c")
        ]
        for model in (*models[:2], models[0], models[2]):
            await model.generate("p").text()
            await asyncio.sleep(1)
        assert [worker.state for worker in pool.workers] == ["ready", "stopped", "ready"]
        assert len(loads_of(processes, "b")) == 1
        assert not loads_of(processes, "b")[0].alive
        assert await models[1].generate("p").text() == "t"
        assert len(loads_of(processes, "b")) == 2
        assert [worker.state for worker in pool.workers] == ["stopped", "ready", "ready"]

    processes.weight_bytes = 40
    pooled(test, byte_budget=100)


def test_a_busy_model_is_waited_for(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        first = await pool.load("a", weight_bytes=80)
        second = await pool.load("b", on_demand=True, weight_bytes=80)
        busy = asyncio.create_task(first.generate("p").text())
        request = await processes.last.request("generate")
        waiting = asyncio.create_task(second.generate("p").text())
        await asyncio.sleep(20)
        assert len(processes.all) == 1
        processes.last.done(request)
        await busy
        await asyncio.sleep(1)
        assert [worker.state for worker in pool.workers] == ["stopped", "ready"]
        processes.last.done(await processes.last.request("generate"))
        await waiting

    processes.weight_bytes = 80
    pooled(test, byte_budget=100)


def test_a_wait_for_room_has_its_limit_and_says_who_is_busy(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        first = await pool.load("a", weight_bytes=80)
        second = await pool.load("b", on_demand=True, weight_bytes=80)
        busy = asyncio.create_task(first.generate("p").text())
        await processes.last.request("generate")
        with pytest.raises(mlxwire.Overloaded, match="all of a are busy") as caught:
            await second.generate("p").text()
        assert now() == pytest.approx(12)
        assert caught.value.retryable
        busy.cancel()

    processes.weight_bytes = 80
    pooled(test, byte_budget=100, patience=12)


def test_a_model_that_can_never_fit_is_refused_at_once(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("a", on_demand=True, weight_bytes=101)
        with pytest.raises(mlxwire.OutOfMemory, match=r"101 bytes.*may use only 100") as caught:
            await model.generate("p").text()
        assert caught.value.retryable is False
        with pytest.raises(mlxwire.OutOfMemory):
            await pool.load("a", weight_bytes=101)
        assert processes.all == []
        assert len(pool.workers) == 1

    pooled(test, byte_budget=100)


def test_a_folders_size_counts_until_a_load_says_better(processes: Processes, tmp_path: Any):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 70)
    (tmp_path / "config.json").write_bytes(b"x" * 1000)

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load(tmp_path, on_demand=True)
        assert pool.workers[0].weight_bytes == 70
        await model.generate("p").text()
        assert pool.workers[0].weight_bytes == 55

    processes.weight_bytes = 55
    pooled(test, byte_budget=100)


def test_a_model_larger_than_was_thought_makes_idle_ones_leave(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", weight_bytes=40)
        processes.weight_bytes = 90
        await pool.load("b", weight_bytes=40)
        assert [worker.state for worker in pool.workers] == ["stopped", "ready"]

    processes.weight_bytes = 40
    pooled(test, byte_budget=100)


def test_a_model_that_turns_out_too_large_serves_until_it_has_to_be_loaded_again(
    processes: Processes,
):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("a", on_demand=True, weight_bytes=40)
        assert await model.generate("p").text() == "t"
        assert len(processes.all) == 1
        await asyncio.sleep(100)
        with pytest.raises(mlxwire.OutOfMemory):
            await model.generate("p").text()

    processes.weight_bytes = 150
    pooled(test, byte_budget=100, unload_after=60)


def test_a_further_worker_that_finds_no_room_is_done_without(processes: Processes):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2, on_demand=True, weight_bytes=60)
        tasks = [asyncio.create_task(model.generate("p").text()) for _ in range(9)]
        await asyncio.sleep(1)
        assert len(processes.all) == 1
        assert sum(r["cmd"] == "generate" for r in processes.last.requests) == 9
        for task in tasks:
            task.cancel()

    processes.weight_bytes = 60
    pooled(test, byte_budget=100)


def test_a_further_worker_does_not_queue_behind_a_model_that_waits_for_room(
    processes: Processes,
):
    processes.hold_requests()

    async def test(pool: mlxwire.Pool) -> None:
        busy = await pool.load("m", workers=2, on_demand=True, weight_bytes=60)
        tasks = [asyncio.create_task(busy.generate("p").text()) for _ in range(8)]
        await asyncio.sleep(1)
        other = await pool.load("n", on_demand=True, weight_bytes=60)
        tasks.append(asyncio.create_task(other.generate("p").text()))
        await asyncio.sleep(1)
        tasks.append(asyncio.create_task(busy.generate("q").text()))
        await asyncio.sleep(1)
        sent = [r for r in processes.last.requests if r["cmd"] == "generate"]
        assert len(sent) == 9, "it went to the worker that runs, at once"
        for task in tasks:
            task.cancel()

    processes.weight_bytes = 60
    pooled(test, byte_budget=100)


def test_a_further_worker_that_does_not_start_is_done_without(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m", workers=2, on_demand=True)
        await model.info()
        processes.last.answers = False
        tasks = [asyncio.create_task(model.generate("p").text()) for _ in range(4)]
        await asyncio.sleep(1)
        processes.fates.append("dies at hello")
        tasks.append(asyncio.create_task(model.generate("p").text()))
        await asyncio.sleep(1)
        first = processes.all[0]
        requests = [r for r in first.requests if r["cmd"] == "generate"]
        assert len(requests) == 5
        for request in requests:
            first.done(request)
        assert await asyncio.gather(*tasks) == [""] * 5

    pooled(test)


@pytest.mark.usefixtures("processes")
def test_looking_at_a_model_does_not_use_it():
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m")
        for _ in range(5):
            await asyncio.sleep(11)
            await asyncio.gather(pool.metrics(), pool.memory(), model.info())
        assert [worker.state for worker in pool.workers] == ["ready"]
        await asyncio.sleep(6)
        assert [worker.state for worker in pool.workers] == ["stopped"]

    pooled(test, unload_after=60)


@pytest.mark.usefixtures("processes")
def test_an_unused_model_gives_its_memory_back():
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("m")
        await asyncio.sleep(61)
        assert [worker.state for worker in pool.workers] == ["stopped"]
        assert pool.workers[0].pid is None
        assert await model.generate("p").text() == "t"

    pooled(test, unload_after=60)


# -- the rest ----------------------------------------------------------------------------


@pytest.mark.usefixtures("processes")
def test_changes_name_their_model():
    changes: list[mlxwire.WorkerChange] = []

    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a")
        await pool.load("b")

    pooled(test, on_change=changes.append)
    assert [(change.kind, change.path) for change in changes] == [
        *(("started", "a"), ("ready", "a"), ("started", "b"), ("ready", "b"))
    ]


def test_closing_a_model_ends_its_workers_alone(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        first, second = await pool.load("a", workers=2), await pool.load("b")
        await first.close()
        assert [process.alive for process in processes.all] == [False, False, True]
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await first.generate("p").text()
        assert await second.generate("p").text() == "t"

    pooled(test)


def test_a_closed_pool_says_so(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("a")
        await pool.close()
        await pool.close()
        assert not processes.last.alive
        with pytest.raises(mlxwire.ModelNotLoaded, match="pool was closed"):
            await model.info()
        with pytest.raises(mlxwire.ShuttingDown, match="this pool was closed"):
            await pool.load("b")

    pooled(test)


@pytest.mark.usefixtures("processes")
def test_a_cache_of_several_workers_can_only_be_warmed():
    async def test(pool: mlxwire.Pool) -> None:
        model = await pool.load("a", workers=2)
        with pytest.raises(mlxwire.UnsupportedCapability, match="2 workers"):
            await model.cache.clear()

    pooled(test)


def test_a_load_that_fails_leaves_nothing_behind(processes: Processes):
    processes.fates.append("no model")

    async def test(pool: mlxwire.Pool) -> None:
        with pytest.raises(mlxwire.ModelNotFound):
            await pool.load("a")
        with pytest.raises(mlxwire.InvalidParams, match=r"`workers` is 0.* 1 or more"):
            await pool.load("a", workers=0)
        assert pool.workers == []
        assert not processes.last.alive

    pooled(test)
