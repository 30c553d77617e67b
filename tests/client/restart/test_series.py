"""A worker with restarts over fake processes, in virtual time: no test waits for real."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from support.fake_process import Processes
from support.virtual_time import now, run

POLICY = mlxwire.RestartPolicy(
    max_restarts=3, window=100, backoff_min=1, backoff_max=8, jitter=0
)
Test = Callable[[mlxwire.Worker], Awaitable[None]]


class Changes(list[mlxwire.WorkerChange]):
    """The changes that the host was told, in order."""

    def kinds(self) -> list[str]:
        return [change.kind for change in self]


def with_worker(test: Test, changes: Changes | None = None, **given: Any) -> None:
    """Run a test in virtual time with a worker that is started, and started again."""

    async def main() -> None:
        options = {"restart": POLICY, "liveness": None} | given
        on_change = None if changes is None else changes.append
        async with mlxwire.Worker(["fake"], on_change=on_change, **options) as worker:
            await test(worker)

    run(main())


def test_after_a_crash_the_model_is_loaded_again_with_all_its_options(processes: Processes):
    changes = Changes()

    async def test(worker: mlxwire.Worker) -> None:
        options: dict[str, Any] = {"adapter_path": "lora", "kv_bits": 4, "context_len": 99}
        model = await worker.load("m", **options)
        processes.last.die()
        assert worker.state == "restarting"
        assert await model.generate("p").text() == "t"
        assert now() == pytest.approx(1)
        assert len(processes.all) == 2
        sent = {"cmd": "load", "path": "m", **options}
        assert [{**load, "id": 0} for load in processes.last.loads] == [{**sent, "id": 0}]

    with_worker(test, changes)
    assert changes.kinds() == [
        *("started", "ready", "crashed", "restarting", "started", "ready")
    ]
    assert changes[2].error is not None
    assert changes[3].delay == 1
    assert (changes[0].pid, changes[4].pid) == (1000, 1001)


def test_a_request_is_never_sent_twice_and_says_how_far_it_came(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        first = processes.last
        first.answers = False
        collecting = asyncio.create_task(model.generate("p").text())
        request = await first.request("generate")
        first.token(request, 0)
        first.token(request, 1)
        first.die(-signal.SIGSEGV, "boom\n")
        with pytest.raises(mlxwire.WorkerCrashed) as caught:
            await collecting
        assert (caught.value.tokens_delivered, caught.value.retryable) == (2, True)
        assert caught.value.stderr_tail == "boom\n"
        await asyncio.sleep(50)
        assert worker.state == "ready"
        assert [r["cmd"] for r in processes.last.requests] == ["hello", "load"]

    with_worker(test)


def test_a_crash_loop_ends_in_a_verdict_with_the_last_stderr(processes: Processes):
    changes = Changes()

    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        for number in range(4):
            if number:
                assert await model.generate("p").text() == "t"
            processes.last.die(9, f"crash {number}\n")
            await asyncio.sleep(20)
        assert worker.state == "failed"
        with pytest.raises(mlxwire.WorkerCrashed, match="4 times within 100 s") as caught:
            await model.generate("p").text()
        assert caught.value.retryable is False
        assert (caught.value.exit_code, caught.value.stderr_tail) == (9, "crash 3\n")
        assert len(processes.all) == 4

        await worker.restart()
        assert await model.generate("p").text() == "t"
        processes.last.die()
        assert await model.generate("p").text() == "t", "the restart began a new count"

    with_worker(test, changes)
    assert [change.delay for change in changes if change.kind == "restarting"] == [1, 2, 4, 1]
    assert changes.kinds().count("gave_up") == 1


def test_nobody_is_told_to_do_what_the_worker_does_itself(processes: Processes):
    changes = Changes()

    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.fates.append("dies at load")
        told: list[str] = []
        for end in (processes.last.die, lambda: processes.last.reply("none", final=True)):
            processes.last.answers = False
            asked = asyncio.create_task(model.generate("p").text())
            await processes.last.request("generate")
            end()
            with pytest.raises(mlxwire.MlxwireError) as caught:
                await asked
            told.append(caught.value.message)
            await asyncio.sleep(20)
        told += [change.error.message for change in changes if change.error is not None]
        assert len(told) == 5
        for message in told:
            assert "tart another" not in message
            assert message.endswith("no request is sent again by itself")
        processes.last.die()
        await asyncio.sleep(20)
        assert worker.state == "failed"
        with pytest.raises(mlxwire.WorkerCrashed, match=r"ended by SIGKILL$") as verdict:
            await model.generate("p").text()
        assert "nother" not in verdict.value.message
        await worker.close()
        with pytest.raises(mlxwire.ShuttingDown, match="this worker was closed"):
            await worker.restart()

    with_worker(test, changes)


def test_crashes_far_apart_are_no_loop(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        for _ in range(10):
            processes.last.die()
            assert await model.generate("p").text() == "t"
            await asyncio.sleep(50)

    with_worker(test)


def test_a_worker_that_dies_while_it_loads_again_counts_too(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.fates.extend(["dies at load", "dies at hello"])
        processes.last.die()
        assert await model.generate("p").text() == "t"
        assert now() == pytest.approx(1 + 2 + 4)

    with_worker(test)


def test_requests_that_wait_for_a_restart_all_hear_the_verdict(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.fates.extend(["dies at load"] * 3)
        processes.last.die()
        waiting = [asyncio.create_task(model.generate("p").text()) for _ in range(3)]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, mlxwire.WorkerCrashed)
            assert error.retryable is False
            assert error.stderr_tail == "bad weights\n"

    with_worker(test)


def test_a_model_folder_that_is_gone_is_given_up_at_once(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.fates.append("no model")
        processes.last.die()
        with pytest.raises(mlxwire.ModelNotFound):
            await model.generate("p").text()
        assert worker.state == "failed"
        assert now() == pytest.approx(1)

    with_worker(test)


@pytest.mark.parametrize(
    ("fate", "error"),
    [("no spawn", mlxwire.SpawnFailed), ("dies at hello", mlxwire.HandshakeFailed)],
)
def test_a_first_start_that_fails_is_told_at_once_and_not_repeated(
    processes: Processes, fate: Any, error: type[Exception]
):
    processes.fates.append(fate)

    async def main() -> None:
        worker = mlxwire.Worker(["fake"], restart=POLICY)
        with pytest.raises(error):
            await worker.start()
        assert (worker.state, now()) == ("stopped", 0)
        await worker.start()
        await worker.close()

    run(main())


def test_a_requests_time_out_holds_while_it_waits_for_a_restart(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.die()
        with pytest.raises(mlxwire.RequestTimeout):
            await model.generate("p", timeout=0.5).text()
        assert now() == pytest.approx(0.5)
        await asyncio.sleep(10)
        assert processes.last.requests[-1]["cmd"] == "load"

    with_worker(test)


def test_a_task_cancelled_while_it_waits_leaves_the_others_waiting(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.die()
        first, second = (asyncio.create_task(model.generate("p").text()) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        assert await second == "t"
        assert [r["cmd"] for r in processes.last.requests] == ["hello", "load", "generate"]
        assert worker.in_flight == 0

    with_worker(test)


def test_an_unused_worker_is_ended_and_the_next_request_starts_another(processes: Processes):
    changes = Changes()

    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        first = processes.last
        first.answers = False
        asking = asyncio.create_task(model.generate("p").text())
        request = await first.request("generate")
        await asyncio.sleep(1000)
        assert first.alive, "a request is in flight"
        first.done(request)
        await asking
        await asyncio.sleep(59)
        assert first.alive
        await asyncio.sleep(2)
        assert (first.returncode, worker.state) == (0, "stopped")
        assert await model.generate("p").text() == "t"
        assert len(processes.all) == 2

    with_worker(test, changes, unload_after=60)
    assert changes.kinds() == [*("started", "ready", "stopped", "started", "ready")]


def test_a_request_that_comes_as_the_one_before_ends_keeps_the_worker(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        process = processes.last
        process.answers = False
        async with model.generate("first"), model.generate("second") as second:
            request = await process.request("generate")
            process.done(await process.request("generate"))
            await asyncio.sleep(100)
            process.done(request)
            async with model.generate("third") as third:
                await asyncio.sleep(1000)
                assert process.alive
                process.done(await process.request("generate"))
                assert [token async for token in third] == []
            assert [token async for token in second] == []

    with_worker(test, unload_after=60)


def test_a_worker_is_started_only_when_the_one_before_is_gone(processes: Processes):
    alive_at_spawn: list[bool] = []

    def look(process: Any) -> None:
        process.quit_seconds = 2
        alive_at_spawn.extend(other.alive for other in processes.all[:-1])

    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        await asyncio.sleep(61)
        assert worker.state == "stopped"
        assert processes.last.alive, "it was told to quit, and takes its time"
        assert await model.generate("p").text() == "t"
        assert alive_at_spawn == [False]

    processes.on_spawn = look
    with_worker(test, unload_after=60)


def test_a_stream_given_up_while_it_waits_is_never_sent(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.die()
        stream = model.generate("p")
        collecting = asyncio.create_task(stream.text())
        await asyncio.sleep(0.1)
        await stream.aclose()
        with pytest.raises(mlxwire.RequestCancelled):
            await collecting
        assert [r["cmd"] for r in processes.last.requests] == ["hello", "load"]

    with_worker(test)


def test_a_restart_lets_what_runs_end_and_holds_what_comes(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        first = processes.last
        first.answers = False
        running = asyncio.create_task(model.generate("runs").text())
        request = await first.request("generate")
        restarting = asyncio.create_task(worker.restart(drain=30))
        await asyncio.sleep(5)
        late = asyncio.create_task(model.generate("comes").text())
        await asyncio.sleep(5)
        assert first.alive
        assert worker.in_flight == 2
        first.token(request)
        first.done(request)
        assert await running == "t"
        await restarting
        assert await late == "t"
        assert (first.returncode, len(processes.all)) == (0, 2)
        assert now() == pytest.approx(10)

    with_worker(test)


def test_a_restart_waits_for_its_drain_limit_and_no_longer(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.answers = False
        running = asyncio.create_task(model.generate("runs").text())
        await processes.last.request("generate")
        await worker.restart(drain=7)
        assert now() == pytest.approx(7)
        with pytest.raises(mlxwire.WorkerCrashed, match="restarted") as caught:
            await running
        assert caught.value.retryable
        assert caught.value.in_flight == 1

    with_worker(test)


def test_a_crash_while_it_drains_is_no_trouble_for_the_restart(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        processes.last.answers = False
        running = asyncio.create_task(model.generate("runs").text())
        await processes.last.request("generate")
        restarting = asyncio.create_task(worker.restart(drain=60))
        await asyncio.sleep(1)
        processes.last.die()
        with pytest.raises(mlxwire.WorkerCrashed):
            await running
        await restarting
        assert await model.generate("p").text() == "t"

    with_worker(test)


def test_jitter_comes_from_the_dice_that_were_given(processes: Processes):
    changes = Changes()
    policy = mlxwire.RestartPolicy(backoff_min=10, jitter=0.5)

    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        random.seed(3)
        processes.last.die()
        await asyncio.sleep(100)

    with_worker(test, changes, restart=policy)
    expected = 10 * (1 + 0.5 * (2 * random.Random(3).random() - 1))
    assert changes[3].delay == pytest.approx(expected)


def test_a_later_load_is_the_one_that_is_done_again(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        first = await worker.load("m")
        second = await worker.load("n")
        processes.last.die()
        assert await second.generate("p").text() == "t"
        assert [load["path"] for load in processes.last.loads] == ["n"]
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
            await first.generate("p").text()

    with_worker(test)


def test_a_model_that_was_closed_is_not_loaded_again(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        await model.close()
        processes.last.die()
        await asyncio.sleep(10)
        assert worker.state == "ready"
        assert processes.last.loads == []
        with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
            await model.info()

    with_worker(test)


@pytest.mark.parametrize("when", ["ready", "restarting", "starting", "failed", "stopped"])
def test_close_ends_it_whatever_it_does(processes: Processes, when: str):
    async def test(worker: mlxwire.Worker) -> None:
        model = await worker.load("m")
        if when == "stopped":
            await worker.stop()
        elif when == "starting":
            processes.fates.append("silent")
            processes.last.die()
            await asyncio.sleep(5)
        elif when != "ready":
            processes.fates.append("no model")
            processes.last.die()
            await asyncio.sleep(0.5 if when == "restarting" else 5)
        assert worker.state == when
        waiting = asyncio.create_task(model.generate("p").text())
        if when in ("starting", "restarting"):
            await asyncio.sleep(0.1)
        await worker.close()
        await worker.close()
        results = await asyncio.gather(waiting, return_exceptions=True)
        waited = when in ("starting", "restarting")  # the others asked after the close
        kind = mlxwire.RequestCancelled if waited else mlxwire.ShuttingDown
        assert isinstance(results[0], kind)
        assert not any(process.alive for process in processes.all)

    with_worker(test)


def test_nothing_is_restarted_behind_a_closed_worker(processes: Processes):
    async def test(worker: mlxwire.Worker) -> None:
        await worker.load("m")
        await worker.close()
        with pytest.raises(mlxwire.ShuttingDown):
            await worker.restart()
        with pytest.raises(mlxwire.ShuttingDown):
            await worker.load("m")
        await asyncio.sleep(100)
        assert len(processes.all) == 1

    with_worker(test)


async def test_a_worker_with_restarts_that_was_not_started_says_what_to_do():
    with pytest.raises(mlxwire.NotInitialized, match="start"):
        await mlxwire.Worker(["fake"], restart=mlxwire.RestartPolicy()).load("m")
