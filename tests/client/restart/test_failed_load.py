"""A load that fails or is cancelled: the worker's model is still the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from support.fake_process import FakeProcess, Processes
from support.virtual_time import run

BROKEN = {"code": "model_load_failed", "message": "bad weights", "retryable": False}
NONE_LOADED = {"code": "model_not_loaded", "message": "load one", "retryable": False}
POLICY = mlxwire.RestartPolicy(backoff_min=1, jitter=0)
Test = Callable[[mlxwire.Worker, mlxwire.Model], Awaitable[None]]


def with_worker(test: Test) -> None:
    """Run a test in virtual time with a worker that has loaded ``a``."""

    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=POLICY, liveness=None) as worker:
            await test(worker, await worker.load("a", context_len=9))

    run(main())


async def lose_model(worker: mlxwire.Worker, process: FakeProcess) -> None:
    """Let a load fail after its checks; from then on the worker is whole again."""
    process.refuses = {"load": BROKEN, "info": NONE_LOADED}
    with pytest.raises(mlxwire.ModelLoadFailed):
        await worker.load("b")
    del process.refuses["load"]
    process.requests.clear()


def commands(process: FakeProcess, *names: str) -> list[tuple[str, Any]]:
    """Return the requests of these commands that a process was sent, with their paths."""
    return [(r["cmd"], r.get("path")) for r in process.requests if r["cmd"] in names]


def test_the_model_of_before_is_loaded_again_by_the_next_request(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        await worker.memory(wired_limit=1)
        await lose_model(worker, processes.last)
        assert await model.generate("p").text() == "t"
        assert commands(processes.last, "load", "memory", "generate") == [
            *(("load", "a"), ("memory", None), ("generate", None))
        ]
        assert processes.last.loads[-1]["context_len"] == 9
        assert await model.generate("p").text() == "t"
        assert len(processes.last.loads) == 2, "once is enough"

    with_worker(test)


def test_a_model_that_is_still_there_is_not_loaded_again(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        processes.last.refuses["load"] = {**BROKEN, "code": "model_not_found"}
        with pytest.raises(mlxwire.ModelNotFound):
            await worker.load("b")
        assert await model.generate("p").text() == "t"
        assert len(processes.last.loads) == 1

    with_worker(test)


def test_a_load_that_was_cancelled_too_late_does_not_answer_for_the_model_of_before(
    processes: Processes,
):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        process.requests.clear()
        process.held = {"load", "info"}
        loading = asyncio.create_task(worker.load("b"))
        late = await process.request("load")
        loading.cancel()
        generating = asyncio.create_task(model.generate("p").text())
        info = await process.request("info")
        await asyncio.sleep(1)
        process.held = set()
        process.answer_load(late)
        process.answer_load(info)
        assert await generating == "t"
        assert commands(process, "load", "generate")[-2:] == [
            *(("load", "a"), ("generate", None))
        ]

    with_worker(test)


def test_a_request_waits_for_a_load_and_is_not_answered_by_its_model(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        process.requests.clear()
        process.held = {"load"}
        loading = asyncio.create_task(worker.load("b"))
        late = await process.request("load")
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(1)
        process.answer_load(late)
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced by a later load"):
            await generating
        assert await (await loading).generate("p").text() == "t"

    with_worker(test)


def test_a_model_that_can_not_be_loaded_again_says_why_and_is_tried_again(
    processes: Processes,
):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        await lose_model(worker, processes.last)
        processes.last.refuses["load"] = {**BROKEN, "code": "model_not_found"}
        for _ in range(2):
            with pytest.raises(mlxwire.ModelNotFound):
                await model.generate("p").text()
        del processes.last.refuses["load"]
        assert await model.generate("p").text() == "t"

    with_worker(test)


def test_loading_again_goes_on_when_its_request_has_no_more_time(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        await lose_model(worker, process)
        process.held = {"load"}
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=5).text()
        again = await process.request("load")
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(1)
        process.answer_load(again)
        assert await generating == "t"
        assert commands(process, "load", "cancel") == [], "one load was enough"

    with_worker(test)


def test_another_load_does_not_wait_for_the_model_of_before(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        await lose_model(worker, process)
        process.held = {"load"}
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=5).text()
        again = await process.request("load")
        process.held = set()
        other = await worker.load("c")
        assert commands(process, "load", "cancel") == [("load", "c"), ("cancel", None)]
        assert await other.generate("p").text() == "t"
        assert again["path"] == "a"

    with_worker(test)


def test_a_worker_that_dies_of_loading_again_is_replaced(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        first = processes.last
        await lose_model(worker, first)
        first.held = {"load"}
        generating = asyncio.create_task(model.generate("p").text())
        await first.request("load")
        first.die()
        assert await generating == "t"
        assert processes.last is not first
        assert commands(processes.last, "load") == [("load", "a")]

    with_worker(test)


def test_a_model_that_is_closed_is_not_loaded_again(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        await lose_model(worker, processes.last)
        await model.close()
        await worker.memory()
        assert commands(processes.last, "load") == []
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await model.generate("p").text()

    with_worker(test)


def test_closing_a_model_while_another_is_loaded_leaves_that_other(processes: Processes):
    async def test(worker: mlxwire.Worker, model: mlxwire.Model) -> None:
        process = processes.last
        process.requests.clear()
        process.held = {"load"}
        loading = asyncio.create_task(worker.load("b"))
        late = await process.request("load")
        closing = asyncio.create_task(model.close())
        await asyncio.sleep(1)
        process.answer_load(late)
        await closing
        assert commands(process, "unload") == []
        assert await (await loading).generate("p").text() == "t"

    with_worker(test)


def test_a_request_that_waited_for_a_worker_is_told_that_its_model_was_closed(
    processes: Processes,
):
    async def test(_: mlxwire.Worker, model: mlxwire.Model) -> None:
        processes.last.die()
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(0.1)
        await model.close()
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await generating

    with_worker(test)
