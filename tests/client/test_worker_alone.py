"""A worker without restarts, over fake processes: what it asks, hears and refuses."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from mlxwire.connection.connection import Connection
from support.fake_process import FakeProcess, Processes
from support.virtual_time import run

LIMITS = mlxwire.LivenessLimits(silence=10, step=60)
Test = Callable[[mlxwire.Worker], Awaitable[None]]


def with_worker(test: Test, **options: Any) -> list[dict[str, Any]]:
    """Run a test in virtual time with a worker that is started; what the loop complained of."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, what: complaints.append(what)
        )
        async with mlxwire.Worker(["fake"], **options) as worker:
            await test(worker)

    run(main())
    return complaints


def commands(process: FakeProcess) -> list[str]:
    return [request["cmd"] for request in process.requests]


def test_a_worker_that_was_never_spawned_has_nothing_to_tell(processes: Processes):
    async def main() -> None:
        worker = mlxwire.Worker(["fake"])
        processes.fates.append("no spawn")
        for _ in range(2):
            assert (worker.pid, worker.returncode, worker.stray_lines) == (None, None, [])
            with pytest.raises(mlxwire.NotInitialized):
                await worker.metrics()
            if processes.fates:
                with pytest.raises(mlxwire.SpawnFailed):
                    await worker.start()

    run(main())


def test_a_worker_that_has_not_answered_hello_takes_no_requests(processes: Processes):
    async def main() -> None:
        processes.fates.append("silent")
        worker = mlxwire.Worker(["fake"])
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(1)
        with pytest.raises(mlxwire.NotInitialized):
            await worker.metrics()
        assert commands(processes.last) == ["hello"]
        starting.cancel()
        await asyncio.wait([starting])

    run(main())


def test_a_worker_belongs_to_the_loop_that_it_was_started_on(processes: Processes):
    async def begin() -> mlxwire.Worker:
        return await mlxwire.Worker(["fake"]).start()

    async def use(worker: mlxwire.Worker) -> None:
        for call in (worker.load("m"), worker.metrics(), worker.close()):
            with pytest.raises(RuntimeError, match="another event loop"):
                await call

    worker = run(begin())
    run(use(worker))
    assert commands(processes.last) == ["hello"]


def test_heartbeats_are_asked_for_where_somebody_wants_them_alone(processes: Processes):
    async def test(_: mlxwire.Worker) -> None:
        wanted.append(processes.last.requests[0]["events"])

    wanted: list[list[str]] = []
    with_worker(test)
    with_worker(test, liveness=LIMITS)
    with_worker(test, liveness=LIMITS, events=["heartbeat", "other"])
    assert wanted == [[], ["heartbeat"], ["heartbeat", "other"]]


@pytest.mark.parametrize("heard", [None, []])
def test_a_host_that_asks_for_heartbeats_judges_them_itself(
    processes: Processes, heard: list[object] | None
):
    async def test(worker: mlxwire.Worker) -> None:
        processes.last.beat("decode", 1, age=1000)
        await asyncio.sleep(1000)
        assert worker.returncode is None

    on_event = None if heard is None else heard.append
    assert with_worker(test, events=["heartbeat"], on_event=on_event) == []
    assert heard is None or len(heard) == 1


def test_other_events_are_no_heartbeats(processes: Processes):
    async def test(_: mlxwire.Worker) -> None:
        process = processes.last
        for _ in range(100):
            process.reply(None, type="event", event="other", data={})
            await asyncio.sleep(5)
        assert process.alive

    assert with_worker(test, liveness=LIMITS) == []


def test_heartbeats_that_only_its_own_liveness_wanted_are_not_the_hosts(processes: Processes):
    async def test(_: mlxwire.Worker) -> None:
        processes.last.beat("idle", 1)

    heard: list[object] = []
    assert with_worker(test, liveness=LIMITS, on_event=heard.append) == []
    assert heard == []


def test_nobody_looks_after_a_worker_that_has_ended(processes: Processes):
    async def main() -> None:
        worker = await mlxwire.Worker(["fake"], liveness=LIMITS).start()
        ended: weakref.ref[Connection] = weakref.ref(worker._child.connection)
        await worker.close()
        processes.all.clear()
        del worker
        await asyncio.sleep(LIMITS.silence / 4)  # two looks, where there were any
        gc.collect()
        assert ended() is None

    run(main())


def test_of_two_loads_that_end_at_once_the_later_one_is_the_model(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        process = processes.last
        process.held.add("load")
        loads = [asyncio.create_task(worker.load(path)) for path in ("first", "second")]
        for request in [await process.request("load") for _ in loads]:
            process.answer_load(request)
        first, second = [await load for load in loads]
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
            await first.info()
        assert (await second.info()).path == ""

    with_worker(test)


def test_closing_a_model_unloads_it_once_and_it_is_gone_at_once(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        closing = asyncio.create_task(model.close())
        await processes.last.request("unload")
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await model.info()
        await closing
        await model.close()
        assert "unload" not in commands(processes.last)

    with_worker(test)


def test_closing_a_model_of_a_worker_that_died_is_harmless(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.die()
        await model.close()

    with_worker(test)


def test_a_model_that_was_replaced_stays_replaced_when_it_is_closed(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        first = await worker.load("first")
        await worker.load("second")
        await first.close()
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
            await first.info()
        assert "unload" not in commands(processes.last)

    with_worker(test)


@pytest.mark.usefixtures("processes")
def test_a_model_that_was_closed_stays_closed_when_another_is_loaded():
    async def test(worker: mlxwire.Worker) -> None:
        first = await worker.load("first")
        await first.close()
        await worker.load("second")
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await first.info()

    with_worker(test)


def test_a_start_that_failed_says_what_the_worker_logged(processes: Processes):
    async def test() -> None:
        processes.on_spawn = lambda process: process._stderr.feed(b"no such engine\n")
        processes.fates.append("silent")
        with pytest.raises(mlxwire.HandshakeFailed) as caught:
            await mlxwire.Worker(["fake"], start_timeout=5).start()
        assert caught.value.stderr_tail == "no such engine\n"

    run(test())


def test_the_workers_own_environment_may_name_its_program(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    commands: list[list[str]] = []

    def spawn(loop: asyncio.AbstractEventLoop, command: list[str], **given: Any) -> FakeProcess:
        commands.append(command)
        return processes.spawn(loop, command, **given)

    async def main() -> None:
        env = {"MLXWIRE_WORKER": "its own program"}
        async with mlxwire.Worker(env=env, args=["--log"]):
            assert commands == [["its", "own", "program", "--log"]]

    monkeypatch.setattr("mlxwire.connection.connection.WorkerProcess", spawn)
    run(main())


@pytest.mark.parametrize("option", [{"unload_after": 60.0}, {"on_change": print}])
def test_an_option_of_restarts_is_refused_without_restarts(option: dict[str, Any]):
    (name,) = option
    with pytest.raises(mlxwire.InvalidParams, match=f"`{name}` needs .*restart=") as caught:
        mlxwire.Worker(["fake"], **option)
    assert caught.value.field == name


@pytest.mark.usefixtures("processes")
def test_a_worker_without_restarts_is_neither_stopped_nor_restarted():
    async def test(worker: mlxwire.Worker) -> None:
        for name, call in (("stop", worker.stop()), ("restart", worker.restart())):
            with pytest.raises(mlxwire.InvalidParams, match=f"`{name}` needs") as caught:
                await call
            assert caught.value.field == name
        assert worker.state == "ready"

    with_worker(test)


def test_a_worker_without_restarts_tells_its_state(processes: Processes):
    async def main() -> None:
        worker = mlxwire.Worker(["fake"])
        states = [worker.state]
        processes.fates.append("silent")
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(1)
        states.append(worker.state)
        starting.cancel()
        await asyncio.wait([starting])
        states.append(worker.state)
        assert states == ["stopped", "starting", "failed"]

        async with mlxwire.Worker(["fake"]) as worker:
            states = [worker.state]
            processes.last.die()
            states.append(worker.state)
        assert states == ["ready", "failed"]

        worker = await mlxwire.Worker(["fake"]).start()
        model = await worker.load("m")
        processes.last.answers = False
        asking = asyncio.create_task(model.generate("p").text())
        await processes.last.request("generate")
        assert worker.in_flight == 1
        await worker.close()
        await asyncio.wait([asking])
        assert (worker.state, worker.in_flight) == ("closed", 0)

    run(main())
