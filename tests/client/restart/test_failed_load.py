"""A load that fails or is cancelled: the model of before is the supervisor's still."""

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
Test = Callable[[mlxwire.Supervisor, mlxwire.Model], Awaitable[None]]


def supervise(test: Test) -> None:
    """Run a test in virtual time with a supervisor that has loaded ``a``."""

    async def main() -> None:
        async with mlxwire.Supervisor(["fake"], restart=POLICY, liveness=None) as supervisor:
            await test(supervisor, await supervisor.load("a", context_len=9))

    run(main())


async def lose_model(supervisor: mlxwire.Supervisor, worker: FakeProcess) -> None:
    """Let a load fail after its checks; from then on the worker is whole again."""
    worker.refuses = {"load": BROKEN, "info": NONE_LOADED}
    with pytest.raises(mlxwire.ModelLoadFailed):
        await supervisor.load("b")
    del worker.refuses["load"]
    worker.requests.clear()


def commands(worker: FakeProcess, *names: str) -> list[tuple[str, Any]]:
    """Return the requests of these commands that a process was sent, with their paths."""
    return [(r["cmd"], r.get("path")) for r in worker.requests if r["cmd"] in names]


def test_the_model_of_before_is_loaded_again_by_the_next_request(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        await supervisor.memory(wired_limit=1)
        await lose_model(supervisor, processes.last)
        assert await model.generate("p").text() == "t"
        assert commands(processes.last, "load", "memory", "generate") == [
            *(("load", "a"), ("memory", None), ("generate", None))
        ]
        assert processes.last.loads[-1]["context_len"] == 9
        assert await model.generate("p").text() == "t"
        assert len(processes.last.loads) == 2, "once is enough"

    supervise(test)


def test_a_model_that_is_still_there_is_not_loaded_again(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        processes.last.refuses["load"] = {**BROKEN, "code": "model_not_found"}
        with pytest.raises(mlxwire.ModelNotFound):
            await supervisor.load("b")
        assert await model.generate("p").text() == "t"
        assert len(processes.last.loads) == 1

    supervise(test)


def test_a_load_that_was_cancelled_too_late_does_not_answer_for_the_model_of_before(
    processes: Processes,
):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        worker = processes.last
        worker.requests.clear()
        worker.held = {"load", "info"}
        loading = asyncio.create_task(supervisor.load("b"))
        late = await worker.request("load")
        loading.cancel()
        generating = asyncio.create_task(model.generate("p").text())
        info = await worker.request("info")
        await asyncio.sleep(1)
        worker.held = set()
        worker.answer_load(late)
        worker.answer_load(info)
        assert await generating == "t"
        assert commands(worker, "load", "generate")[-2:] == [
            *(("load", "a"), ("generate", None))
        ]

    supervise(test)


def test_a_request_waits_for_a_load_and_is_not_answered_by_its_model(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        worker = processes.last
        worker.requests.clear()
        worker.held = {"load"}
        loading = asyncio.create_task(supervisor.load("b"))
        late = await worker.request("load")
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(1)
        worker.answer_load(late)
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced by a later load"):
            await generating
        assert await (await loading).generate("p").text() == "t"

    supervise(test)


def test_a_model_that_can_not_be_loaded_again_says_why_and_is_tried_again(
    processes: Processes,
):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        await lose_model(supervisor, processes.last)
        processes.last.refuses["load"] = {**BROKEN, "code": "model_not_found"}
        for _ in range(2):
            with pytest.raises(mlxwire.ModelNotFound):
                await model.generate("p").text()
        del processes.last.refuses["load"]
        assert await model.generate("p").text() == "t"

    supervise(test)


def test_loading_again_goes_on_when_its_request_has_no_more_time(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        worker = processes.last
        await lose_model(supervisor, worker)
        worker.held = {"load"}
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=5).text()
        again = await worker.request("load")
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(1)
        worker.answer_load(again)
        assert await generating == "t"
        assert commands(worker, "load", "cancel") == [], "one load was enough"

    supervise(test)


def test_another_load_does_not_wait_for_the_model_of_before(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        worker = processes.last
        await lose_model(supervisor, worker)
        worker.held = {"load"}
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=5).text()
        again = await worker.request("load")
        worker.held = set()
        other = await supervisor.load("c")
        assert commands(worker, "load", "cancel") == [("load", "c"), ("cancel", None)]
        assert await other.generate("p").text() == "t"
        assert again["path"] == "a"

    supervise(test)


def test_a_worker_that_dies_of_loading_again_is_replaced(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        first = processes.last
        await lose_model(supervisor, first)
        first.held = {"load"}
        generating = asyncio.create_task(model.generate("p").text())
        await first.request("load")
        first.die()
        assert await generating == "t"
        assert processes.last is not first
        assert commands(processes.last, "load") == [("load", "a")]

    supervise(test)


def test_a_model_that_is_closed_is_not_loaded_again(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        await lose_model(supervisor, processes.last)
        await model.close()
        await supervisor.memory()
        assert commands(processes.last, "load") == []
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await model.generate("p").text()

    supervise(test)


def test_closing_a_model_while_another_is_loaded_leaves_that_other(processes: Processes):
    async def test(supervisor: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        worker = processes.last
        worker.requests.clear()
        worker.held = {"load"}
        loading = asyncio.create_task(supervisor.load("b"))
        late = await worker.request("load")
        closing = asyncio.create_task(model.close())
        await asyncio.sleep(1)
        worker.answer_load(late)
        await closing
        assert commands(worker, "unload") == []
        assert await (await loading).generate("p").text() == "t"

    supervise(test)


def test_a_request_that_waited_for_a_worker_is_told_that_its_model_was_closed(
    processes: Processes,
):
    async def test(_: mlxwire.Supervisor, model: mlxwire.Model) -> None:
        processes.last.die()
        generating = asyncio.create_task(model.generate("p").text())
        await asyncio.sleep(0.1)
        await model.close()
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await generating

    supervise(test)
