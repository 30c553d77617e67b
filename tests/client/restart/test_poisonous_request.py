"""A request that kills each worker: what the host learns of it, so that it need not send it again."""

from __future__ import annotations

import asyncio
import signal

import pytest

import mlxwire
from support.fake_process import Processes
from support.virtual_time import run

AT_ONCE = mlxwire.RestartPolicy(max_restarts=3, backoff_min=0, jitter=0)


async def killed_by(
    processes: Processes, model: mlxwire.Model, *prompts: str
) -> list[mlxwire.WorkerCrashed]:
    """Ask these at once; the worker dies when it has them all. What each failed with."""
    await model.info()  # there is a worker
    process = processes.last
    process.answers = False
    asking = [asyncio.create_task(model.generate(prompt).text()) for prompt in prompts]
    for _ in prompts:
        await process.request("generate")
    process.die(-signal.SIGSEGV)
    errors = await asyncio.gather(*asking, return_exceptions=True)
    return [error for error in errors if isinstance(error, mlxwire.WorkerCrashed)]


def test_a_crash_tells_each_request_how_many_were_in_flight(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            (alone,) = await killed_by(processes, model, "a")
            assert (alone.in_flight, alone.retryable) == (1, True)
            several = await killed_by(processes, model, "a", "b")
            assert [(each.in_flight, each.retryable) for each in several] == [(2, True)] * 2

    run(main())


def test_cancels_on_their_way_are_no_requests(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            process = processes.last
            process.answers = False
            asking = asyncio.create_task(model.generate("a").text())
            await process.request("generate")
            worker._child.connection.send_cancel("r999")
            process.die()
            with pytest.raises(mlxwire.WorkerCrashed) as caught:
                await asking
            assert caught.value.in_flight == 1

    run(main())


def test_the_same_request_alone_at_two_crashes_in_a_row_is_not_to_be_sent_again(
    processes: Processes,
):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            await killed_by(processes, model, "poison")
            (again,) = await killed_by(processes, model, "poison")
            assert not again.retryable
            assert "don't send it again" in again.message
            assert await model.generate("harmless").text() == "t"
            assert worker.state == "ready"

    run(main())


@pytest.mark.parametrize(
    "before", [["other"], ["poison", "other"]], ids=["another alone", "among others"]
)
def test_a_request_that_was_not_alone_twice_may_be_sent_again(
    processes: Processes, before: list[str]
):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            await killed_by(processes, model, *before)
            (error,) = await killed_by(processes, model, "poison")
            assert error.retryable
            await worker.restart()
            (error,) = await killed_by(processes, model, "poison")
            assert error.retryable, "the restart began anew"

    run(main())


def test_the_verdict_says_how_often_requests_were_in_flight(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            await killed_by(processes, model, "a")
            await model.info()
            processes.fates.append("dies at load")
            processes.last.die()  # idle; and the next while it loads
            await killed_by(processes, model, "b", "c")
            with pytest.raises(mlxwire.WorkerCrashed) as caught:
                await model.info()
            assert worker.state == "failed"
            assert "4 times within 300 s, 2 of them with requests in flight" in str(
                caught.value
            )
            assert (caught.value.in_flight, caught.value.retryable) == (2, False)

    run(main())


def test_a_worker_that_broke_the_protocol_twice_was_not_killed_by_a_request(
    processes: Processes,
):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            for _ in range(2):
                await model.info()  # there is a worker
                process = processes.last
                process.answers = False
                asking = asyncio.create_task(model.generate("the same").text())
                await process.request("generate")
                process.reply("unknown", final=True)
                with pytest.raises(mlxwire.ProtocolViolation) as caught:
                    await asking
                assert caught.value.message.endswith("no request is sent again by itself")

    run(main())
