"""A request from its opening to its end: what may not disturb it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import mlxwire
from mlxwire.model import Model
from mlxwire.requests.pending import PendingRequest, ask
from mlxwire.requests.route import ModelRoute
from support.fake_process import LOAD_RESULT, LOADED
from support.memory_worker import MemoryWorker


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """Return the list of all that the loop's exception handler is told."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    return heard


class FailingWay:
    """The way to a connection that fails when the test says so."""

    def __init__(self, worker: MemoryWorker) -> None:
        self.loop = worker.connection.loop
        self.limits = worker.connection.limits
        self.asked = asyncio.Event()
        self.fails = asyncio.Event()

    def check_loop(self) -> None:
        pass

    async def connect(
        self, _request: PendingRequest, /
    ) -> mlxwire.connection.connection.Connection:
        self.asked.set()
        await self.fails.wait()
        raise mlxwire.WorkerCrashed("no worker to be had")

    def model(self) -> Model:
        async def close(_: ModelRoute) -> None:
            raise NotImplementedError

        return Model(ModelRoute(self, LOADED), on_close=close)


async def test_a_stream_left_while_it_waits_for_a_connection_ends_though_that_fails(memory):
    way = FailingWay(await memory())
    stream = way.model().generate("p")
    taking = asyncio.create_task(stream.take_available())
    await way.asked.wait()
    stream.abandon()
    way.fails.set()
    with pytest.raises(mlxwire.RequestCancelled):
        await taking


async def test_a_stream_that_can_not_be_sent_is_not_entered(memory):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams):
        async with worker.model.generate("lone surrogate \ud800"):
            pytest.fail("it was entered")


async def test_a_reply_of_a_later_version_is_no_progress(memory, complaints):
    worker = await memory()
    heard: list[object] = []
    loading = PendingRequest(worker.connection, "load", {}, on_progress=heard.append)
    waiting = asyncio.create_task(loading.result())
    request_id = (await worker.process.request("load"))["id"]
    worker.reply(request_id, type="weather", stage="sunny", done=1, total=2)
    worker.reply(request_id, type="progress", stage="read", done=1, total=2)
    worker.reply(request_id, **LOAD_RESULT)
    await waiting
    assert [report.stage for report in heard] == ["read"]
    assert complaints == []


async def test_progress_that_nobody_listens_to_is_dropped(memory, complaints):
    worker = await memory()
    asking = asyncio.create_task(ask(worker.connection, "load", {}))
    request_id = (await worker.process.request("load"))["id"]
    worker.reply(request_id, type="progress", stage="read", done=1, total=2)
    worker.reply(request_id, **LOAD_RESULT)
    await asking
    assert complaints == []


async def test_a_stream_keeps_nothing_of_the_times_that_it_was_waited_for(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    taking = asyncio.create_task(anext(stream))
    request_id = (await worker.process.request("generate"))["id"]
    for seq in range(100):
        await asyncio.sleep(0)  # into its wait
        worker.tokens(request_id, "a", first=seq)
        await taking
        taking = asyncio.create_task(anext(stream))
    gc.collect()
    assert sum(type(each) is asyncio.Future for each in gc.get_objects()) < 50
    taking.cancel()


async def test_what_comes_after_an_offence_reaches_nobody(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.send(b"no message\n")
    worker.tokens(request_id, "a")
    worker.done(request_id)
    with pytest.raises(mlxwire.ProtocolViolation):
        await collecting


async def test_each_request_after_the_end_has_an_exception_of_its_own(memory):
    worker = await memory()
    await worker.connection.close()
    caught = []
    for _ in range(2):
        with pytest.raises(mlxwire.ShuttingDown) as each:
            await worker.model.info()
        caught.append(each.value)
    assert caught[0] is not caught[1]


async def test_a_call_outside_an_asyncio_loop_says_where_the_worker_can_be_used(memory):
    worker = await memory()

    def without_a_loop() -> None:
        asking = worker.model.info()
        try:
            asking.send(None)
        finally:
            asking.close()

    with pytest.raises(RuntimeError, match="started on another event loop"):
        await asyncio.to_thread(without_a_loop)
