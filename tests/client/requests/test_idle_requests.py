"""A request of which nothing comes: its idle time-out, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import mlxwire
from support.memory_worker import MemoryWorker
from support.virtual_time import now, run

WINDOW = {"window": True}


async def with_worker(
    test: Callable[[MemoryWorker], Awaitable[None]], **options: object
) -> None:
    worker = MemoryWorker(**options)
    await worker.greet()
    await test(worker)
    await worker.connection.close()


def test_a_stream_of_which_nothing_comes_is_cancelled_within_a_quarter_more():
    async def test(worker: MemoryWorker) -> None:
        with pytest.raises(mlxwire.RequestTimeout, match="nothing came") as caught:
            await worker.model.generate("p", idle_timeout=8).text()
        assert 8 <= now() <= 10
        assert caught.value.data == {"idle_timeout": 8}
        assert await worker.process.request("cancel")

    run(with_worker(test))


def test_tokens_and_progress_put_it_off():
    async def test(worker: MemoryWorker) -> None:
        collecting = asyncio.create_task(worker.model.generate("p", idle_timeout=8).text())
        request_id = (await worker.process.request("generate"))["id"]
        for step in range(20):
            await asyncio.sleep(6)
            worker.reply(request_id, type="progress", stage="prefill", done=step, total=20)
        for seq in range(20):
            await asyncio.sleep(6)
            worker.tokens(request_id, "x", first=seq)
        worker.done(request_id)
        assert await collecting == "x" * 20
        assert now() == pytest.approx(240)

    run(with_worker(test))


def test_a_consumer_that_sleeps_is_not_the_workers_silence():
    async def test(worker: MemoryWorker) -> None:
        async with worker.model.generate("p", idle_timeout=8) as stream:
            request_id = (await worker.process.request("generate"))["id"]
            worker.tokens(request_id, "a", "b")
            await anext(stream)
            await asyncio.sleep(1000)
            assert [r["cmd"] for r in worker.process.requests] == []
            assert (await anext(stream)).text == "b"
            with pytest.raises(mlxwire.RequestTimeout) as caught:
                await anext(stream)
            assert caught.value.tokens_delivered == 2
            worker.done(request_id, "cancelled", stage="decode")

    run(with_worker(test, capabilities=WINDOW))


def test_the_workers_idle_time_out_holds_for_streams_without_their_own():
    async def test(worker: MemoryWorker) -> None:
        with pytest.raises(mlxwire.RequestTimeout):
            await worker.model.classify(["p"])
        assert 3 <= now() <= 4

    run(with_worker(test, idle_timeout=3))


def test_whichever_time_out_comes_first_ends_it():
    async def test(worker: MemoryWorker) -> None:
        with pytest.raises(mlxwire.RequestTimeout, match="longer than the 5 s"):
            await worker.model.generate("p", timeout=5, idle_timeout=30).text()
        assert now() == pytest.approx(5)

    run(with_worker(test))
