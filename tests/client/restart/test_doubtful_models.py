"""After a load that failed: how often the worker is asked, and what becomes of the asking."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from mlxwire.requests.route import ModelRoute
from mlxwire.restart.replay import Replay
from support.fake_process import FakeProcess, Processes
from support.virtual_time import run

BROKEN = {"code": "out_of_memory", "message": "too large", "retryable": True}
NONE_LOADED = {"code": "model_not_loaded", "message": "load one", "retryable": False}
POLICY = mlxwire.RestartPolicy(backoff_min=1, jitter=0)
Test = Callable[[mlxwire.Worker, mlxwire.Model], Awaitable[None]]


def with_worker(test: Test) -> list[dict[str, Any]]:
    """Run a test in virtual time with a model that is loaded; what the loop complained of."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, what: complaints.append(what)
        )
        async with mlxwire.Worker(["fake"], restart=POLICY, liveness=None) as worker:
            await test(worker, await worker.load("a"))

    run(main())
    gc.collect()  # a task's failure that nobody saw is told when it is collected
    return complaints


async def fail_to_load(worker: mlxwire.Worker, process: FakeProcess) -> None:
    process.refuses["load"] = BROKEN
    with pytest.raises(mlxwire.OutOfMemory):
        await worker.load("b")
    del process.refuses["load"]


def looks(process: FakeProcess) -> int:
    return [request["cmd"] for request in process.requests].count("info")


def test_a_load_that_succeeded_leaves_no_doubt(processes: Processes):
    async def test(_: mlxwire.Worker, model: mlxwire.Model) -> None:
        await model.generate("p").text()
        assert looks(processes.last) == 0

    with_worker(test)


def test_a_doubt_is_settled_by_one_look_for_all_requests_to_come(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        await fail_to_load(worker, processes.last)
        for _ in range(3):
            await model.generate("p").text()
        assert looks(processes.last) == 2
        assert len(processes.last.loads) == 1

    with_worker(test)


def test_a_model_that_was_loaded_again_is_looked_for_no_more(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        await fail_to_load(worker, process)
        process.refuses["info"] = NONE_LOADED
        for _ in range(3):
            await model.generate("p").text()
        assert [load["path"] for load in process.loads] == ["a", "a"]

    with_worker(test)


def test_a_later_load_that_succeeds_settles_it_too(processes: Processes):
    async def test(worker: mlxwire.Worker, _: mlxwire.Model) -> None:
        await fail_to_load(worker, processes.last)
        other = await worker.load("c")
        await other.generate("p").text()
        assert looks(processes.last) == 0

    with_worker(test)


@pytest.mark.parametrize("end", ["it fails", "another load comes"])
def test_loading_again_that_nobody_waits_for_ends_without_a_word(
    processes: Processes, end: str
):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        await fail_to_load(worker, process)
        process.refuses["info"] = NONE_LOADED
        process.held = {"load"}
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=5).text()
        again = await process.request("load")
        process.held = set()
        if end == "it fails":
            process.reply(again["id"], type="error", final=True, error=BROKEN)
        else:
            await worker.load("c")
        await asyncio.sleep(1)

    assert with_worker(test) == []


def test_a_model_that_is_not_planned_is_not_dropped(processes: Processes):
    async def test(worker: mlxwire.Worker, _: mlxwire.Model) -> None:
        assert not Replay().drop(ModelRoute(worker))
        assert processes.last.alive

    with_worker(test)
