"""One worker's life after another's: what each end leaves, and what the next one begins with."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from mlxwire.connection.child import Child
from support.fake_process import FakeProcess, Processes
from support.virtual_time import now, run

POLICY = mlxwire.RestartPolicy(
    max_restarts=3, window=100, backoff_min=1, backoff_max=8, jitter=0
)
REFUSED = {"code": "out_of_memory", "message": "not now", "retryable": True}
Test = Callable[[mlxwire.Worker], Awaitable[None]]


def with_worker(
    test: Test, *, starts: bool = True, closes: bool = True, **options: Any
) -> list[dict[str, Any]]:
    """Run a test in virtual time with a worker that is started again; return the loop's complaints."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, what: complaints.append(what)
        )
        worker = mlxwire.Worker(["fake"], **({"restart": POLICY, "liveness": None} | options))
        worker._series("bind").bind()
        if starts:
            await worker.start()
        await test(worker)
        if closes:
            await worker.close()

    run(main())
    gc.collect()  # a task's failure that nobody saw is told when it is collected
    return complaints


async def failure(asking: Awaitable[object]) -> mlxwire.MlxwireError:
    with pytest.raises(mlxwire.MlxwireError) as caught:
        await asking
    return caught.value


def test_each_request_is_told_of_the_verdict_by_an_exception_of_its_own(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.fates.append("no model")
        processes.last.die()
        waiting = [asyncio.create_task(worker.metrics()) for _ in range(2)]
        told = [await failure(each) for each in waiting]
        assert worker.state == "failed"
        told += [await failure(model.info()) for _ in range(2)]
        assert len({id(each) for each in told}) == 4

    with_worker(test)


@pytest.mark.usefixtures("processes")
def test_stopping_what_does_not_run_changes_nothing():
    changes: list[mlxwire.WorkerChange] = []

    async def test(worker: mlxwire.Worker) -> None:
        await worker.stop()
        await worker.stop()
        assert [change.kind for change in changes] == ["started", "ready", "stopped"]
        await worker.close()
        await worker.stop()
        assert worker.state == "closed"

    with_worker(test, on_change=changes.append)


def test_stopping_does_not_lift_a_verdict(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        processes.fates.append("no model")
        processes.last.die()
        await asyncio.sleep(50)
        await worker.stop()
        assert worker.state == "failed"

    with_worker(test)


def test_a_request_that_waits_for_a_start_that_is_stopped_has_another_started(
    processes: Processes,
):
    async def test(worker: mlxwire.Worker) -> None:
        processes.fates.append("silent")
        asking = asyncio.create_task(worker.metrics())
        await asyncio.sleep(1)
        await worker.stop()
        async with asyncio.timeout(10):
            await asyncio.wait([asking])
        assert len(processes.all) == 2

    with_worker(test, starts=False)


def test_a_first_start_after_a_stop_that_fails_is_told_at_once(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        await worker.stop()
        processes.fates.append("dies at hello")
        assert isinstance(await failure(worker.start()), mlxwire.HandshakeFailed)
        assert (now(), worker.state) == (0, "stopped")

    with_worker(test)


def test_a_worker_that_could_not_be_made_ready_is_gone_before_the_next_is_spawned(
    processes: Processes,
):
    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        processes.on_spawn = refuse_once
        processes.last.die()
        await worker.metrics()
        assert [process.alive for process in processes.all] == [False, False, True]

    def refuse_once(process: FakeProcess) -> None:
        alive.append([other.alive for other in processes.all[:-1]])
        if len(processes.all) == 2:
            process.refuses["load"] = REFUSED

    alive: list[list[bool]] = []
    with_worker(test)
    assert alive == [[False], [False, False]]


def test_giving_up_leaves_no_unseen_failure_of_the_workers_own(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        processes.fates.append("no model")
        processes.last.die()
        await asyncio.sleep(50)
        assert worker.state == "failed"
        processes.all.clear()  # they would keep the worker, and its failure to themselves

    assert with_worker(test, closes=False) == []


def test_a_worker_that_nobody_closed_ends_its_process_with_the_loop(processes: Processes):
    async def main() -> None:
        kept.append(
            await mlxwire.Worker(
                ["fake"], liveness=None, restart=mlxwire.RestartPolicy()
            ).start()
        )

    kept: list[mlxwire.Worker] = []
    run(main())
    assert not processes.last.alive


def test_a_worker_that_can_not_be_made_is_an_internal_error_and_is_tried_again(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    made: list[Child] = []

    def make(*args: Any) -> Child:
        if len(made) == 2:
            made.append(made[-1])
            raise ValueError("the factory is closed")
        made.append(Child(*args))
        return made[-1]

    async def test(worker: mlxwire.Worker) -> None:
        processes.last.die()
        await asyncio.sleep(50)
        assert worker.state == "ready"
        assert [change.kind for change in changes].count("crashed") == 2
        (told,) = [c.error for c in changes if isinstance(c.error, mlxwire.InternalError)]
        assert "ValueError: the factory is closed" in told.message

    changes: list[mlxwire.WorkerChange] = []
    monkeypatch.setattr("mlxwire.restart.worker_life.Child", make)
    assert with_worker(test, on_change=changes.append) == []


def test_the_next_worker_has_an_unused_time_of_its_own(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        await asyncio.sleep(10)
        processes.last.die()
        await asyncio.sleep(30)
        await model.generate("p").text()
        await asyncio.sleep(45)
        assert worker.state == "ready"
        await asyncio.sleep(10)
        assert worker.state == "stopped"

    assert with_worker(test, unload_after=50) == []


def test_a_worker_that_dies_as_it_is_greeted_never_counts_as_ready(processes: Processes):
    def dies_after_hello(process: FakeProcess) -> None:
        answer = process._answer

        def answer_and_die(request: dict[str, Any]) -> None:
            answer(request)
            process.die()

        process._answer = answer_and_die  # type: ignore[method-assign]

    async def test(worker: mlxwire.Worker) -> None:
        processes.on_spawn = dies_after_hello
        assert isinstance(await failure(worker.start()), mlxwire.WorkerCrashed)
        assert worker.state == "stopped"

    with_worker(test, starts=False)


def test_first_starts_that_fail_again_and_again_are_given_up_too(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        processes.fates.extend(["dies at hello"] * 9)
        for _ in range(POLICY.max_restarts):
            assert isinstance(await failure(worker.start()), mlxwire.HandshakeFailed)
        assert isinstance(await failure(worker.start()), mlxwire.WorkerCrashed)
        assert worker.state == "failed"
        await failure(worker.start())
        assert len(processes.all) == POLICY.max_restarts + 1

    with_worker(test, starts=False)


def test_a_crash_with_requests_to_come_ends_a_drain_at_once(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        first = processes.last
        first.answers = False
        asking = asyncio.create_task(model.generate("p").text())
        await first.request("generate")
        restarting = asyncio.create_task(worker.restart(drain=30))
        await asyncio.sleep(5)
        first.die()
        await restarting
        assert isinstance(await failure(asking), mlxwire.WorkerCrashed)
        assert now() < 10

    with_worker(test)


@pytest.mark.usefixtures("processes")
def test_a_cancel_does_not_keep_a_worker_from_being_unused():
    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        await asyncio.sleep(45)
        await worker.cancel()
        await asyncio.sleep(10)
        assert worker.state == "stopped"

    with_worker(test, unload_after=50)


def test_idle_crashes_are_no_requests_fault(processes: Processes):
    async def test(_: mlxwire.Worker) -> None:
        for _ in range(2):
            processes.last.die()
            await asyncio.sleep(20)
        assert all(error is not None and error.retryable for error in errors)

    errors: list[mlxwire.MlxwireError | None] = []

    def heard(change: mlxwire.WorkerChange) -> None:
        if change.kind == "crashed":
            errors.append(change.error)

    with_worker(test, on_change=heard)
    assert len(errors) == 2
