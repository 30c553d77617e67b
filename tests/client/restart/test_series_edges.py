"""Edges of a worker with restarts: its loop, its defaults, and a model closed as things go on."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from support.fake_process import Processes
from support.virtual_time import run

POLICY = mlxwire.RestartPolicy(backoff_min=1, jitter=0)


@pytest.mark.parametrize("running", [True, False])
def test_a_worker_with_restarts_belongs_to_the_loop_that_it_was_started_on(
    processes: Processes, running: bool
):
    async def begin() -> mlxwire.Worker:
        worker = await mlxwire.Worker(
            ["fake"], liveness=None, restart=mlxwire.RestartPolicy()
        ).start()
        if not running:
            await worker.stop()
        return worker

    async def use(worker: mlxwire.Worker) -> None:
        calls = (
            worker.load("m"),
            worker.memory(),
            worker.metrics(),
            worker.cancel(),
            worker.restart(),
            worker.start(),
        )
        for call in calls:
            with pytest.raises(RuntimeError, match="another event loop"):
                await call

    worker = run(begin())
    sent = len(processes.last.requests)
    run(use(worker))
    assert (len(processes.all), len(processes.last.requests)) == (1, sent)


def test_a_worker_with_restarts_watches_over_its_process_unless_it_is_told_not_to(
    processes: Processes,
):
    async def main() -> None:
        async with (
            mlxwire.Worker(["fake"], restart=mlxwire.RestartPolicy()),
            mlxwire.Worker(["fake"], liveness=None, restart=mlxwire.RestartPolicy()),
        ):
            pass

    run(main())
    assert [each.requests[0]["events"] for each in processes.all] == [["heartbeat"], []]


def test_a_restart_may_be_the_first_start(processes: Processes):
    async def main() -> None:
        worker = mlxwire.Worker(["fake"], liveness=None, restart=mlxwire.RestartPolicy())
        await worker.restart()
        await worker.metrics()
        await worker.close()

    run(main())
    assert len(processes.all) == 1


def test_leaving_a_worker_with_restarts_ends_its_process(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], liveness=None, restart=mlxwire.RestartPolicy()):
            pass
        assert not processes.last.alive

    run(main())


def test_closing_a_model_unloads_it(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(
            ["fake"], liveness=None, restart=mlxwire.RestartPolicy()
        ) as worker:
            await (await worker.load("m")).close()
            assert [each["cmd"] for each in processes.last.requests][-1] == "unload"

    run(main())


def test_a_model_may_be_closed_while_its_worker_dies_of_another_load(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], liveness=None, restart=POLICY) as worker:
            model = await worker.load("a")
            first = processes.last
            first.held = {"load"}
            loading = asyncio.create_task(worker.load("b"))
            await asyncio.sleep(1)
            closing = asyncio.create_task(model.close())
            await asyncio.sleep(1)
            first.die()
            await closing
            with pytest.raises(mlxwire.WorkerCrashed):
                await loading
            await worker.metrics()
            assert processes.last.loads == []

    run(main())
