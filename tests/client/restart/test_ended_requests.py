"""A request that is over leaves its outcome and the tokens not taken, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from mlxwire.connection.connection import Connection
from mlxwire.model import Model
from mlxwire.requests.pending import PendingRequest
from mlxwire.requests.route import ModelRoute
from support.fake_process import LOADED
from support.memory_worker import MemoryWorker
from support.virtual_time import run

TIMEOUT = 100.0
AGES = 100 * TIMEOUT


class Listener:
    """Hears of progress."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __call__(self, progress: object) -> None:
        self.heard.append(progress)


class SlowWay:
    """The way to a connection that is found when the test says so."""

    def __init__(self, connection: Connection) -> None:
        self.loop = connection.loop
        self.limits = connection.limits
        self.found = asyncio.Event()
        self._connection = connection

    def check_loop(self) -> None:
        self._connection.check_loop()

    async def connect(self, _request: PendingRequest, /) -> Connection:
        await self.found.wait()
        return self._connection


def model_behind(way: SlowWay) -> Model:
    async def close(route: ModelRoute) -> None:
        route.close("closed")

    return Model(ModelRoute(way, LOADED), on_close=close)


def with_worker(test: Callable[[MemoryWorker], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        worker = MemoryWorker(**options)
        await worker.greet()
        await test(worker)
        await worker.connection.close()

    run(main())


async def two_tokens(worker: MemoryWorker, **options: Any) -> tuple[mlxwire.TokenStream, str]:
    """Return a stream with two tokens that nobody has taken yet, and its request's id."""
    stream = worker.model.generate("p", **options)
    await stream.__aenter__()
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    return stream, request_id


async def expired(worker: MemoryWorker) -> tuple[mlxwire.TokenStream, str]:
    """Return a stream that its deadline has ended, and that the worker still has to end."""
    stream, request_id = await two_tokens(worker, timeout=TIMEOUT)
    assert (await anext(stream)).text == "a"
    assert (await anext(stream)).text == "b"
    with pytest.raises(mlxwire.RequestTimeout):
        await anext(stream)
    return stream, request_id


def test_tokens_of_a_stream_that_has_ended_stay_to_be_taken_after_its_deadline():
    async def test(worker: MemoryWorker) -> None:
        stream, request_id = await two_tokens(worker, timeout=TIMEOUT)
        worker.done(request_id)
        await asyncio.sleep(AGES)
        assert [token.text async for token in stream] == ["a", "b"]
        assert stream.done.finish_reason == "stop"

    with_worker(test)


def test_tokens_that_came_before_a_crash_stay_to_be_taken_after_the_deadline():
    async def test(worker: MemoryWorker) -> None:
        stream, _ = await two_tokens(worker, timeout=TIMEOUT)
        worker.process.die(3)
        await asyncio.sleep(AGES)
        assert [(await anext(stream)).text for _ in range(2)] == ["a", "b"]
        with pytest.raises(mlxwire.WorkerCrashed):
            await anext(stream)

    with_worker(test)


@pytest.mark.parametrize("end", ["final", "crash", "drain limit"])
def test_a_stream_that_its_deadline_has_ended_ends_for_no_other_reason(end: str):
    async def test(worker: MemoryWorker) -> None:
        stream, request_id = await expired(worker)
        if end == "final":
            worker.error(request_id, "internal_error")
        elif end == "crash":
            worker.process.die(3)
        await asyncio.sleep(AGES)
        with pytest.raises(mlxwire.RequestTimeout):
            assert stream.done
        await stream.aclose()

    with_worker(test)


def test_a_listener_hears_nothing_of_what_was_left():
    async def test(worker: MemoryWorker) -> None:
        listener = Listener()
        stream, request_id = await two_tokens(worker, on_progress=listener)
        worker.reply(request_id, type="progress", stage="prefill", done=1, total=2)
        stream.abandon()
        worker.reply(request_id, type="progress", stage="prefill", done=2, total=2)
        worker.done(request_id, "cancelled", stage="prefill")
        assert len(listener.heard) == 1

    with_worker(test)


@pytest.mark.parametrize("end", ["final", "crash", "left"])
@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
def test_no_timer_keeps_a_request_that_has_ended(end: str, limit: str):
    async def test(worker: MemoryWorker) -> None:
        listener = Listener()
        kept = weakref.ref(listener)
        stream, request_id = await two_tokens(worker, on_progress=listener, **{limit: AGES})
        if end == "crash":
            worker.process.die(3)
            await asyncio.sleep(1)
        else:
            if end == "left":
                stream.abandon()
            worker.done(request_id, "stop")
        del stream, listener
        gc.collect()
        assert kept() is None

    with_worker(test)


def test_no_timer_keeps_a_request_that_was_left_while_it_waited_for_a_connection():
    async def test(worker: MemoryWorker) -> None:
        way = SlowWay(worker.connection)
        listener = Listener()
        kept = weakref.ref(listener)
        stream = model_behind(way).generate("p", timeout=AGES, on_progress=listener)
        taking = asyncio.ensure_future(stream.take_available())
        await asyncio.sleep(1)
        stream.abandon()
        way.found.set()
        await asyncio.wait([taking])
        assert isinstance(taking.exception(), mlxwire.RequestCancelled)
        assert worker.process.requests == []
        del stream, listener, taking
        gc.collect()
        assert kept() is None

    with_worker(test)


def test_a_stream_whose_task_was_cancelled_before_it_was_sent_is_empty():
    async def test(worker: MemoryWorker) -> None:
        stream = model_behind(SlowWay(worker.connection)).generate("p")
        stepping = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1)
        stepping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stepping
        async with asyncio.timeout(TIMEOUT):
            assert [token async for token in stream] == []

    with_worker(test)


def test_a_stream_that_could_not_be_sent_says_why_each_time():
    async def test(worker: MemoryWorker) -> None:
        stream = worker.model.generate("lone surrogate \ud800")
        async with asyncio.timeout(TIMEOUT):
            for _ in range(2):
                with pytest.raises(mlxwire.InvalidParams):
                    await anext(stream)
        with pytest.raises(mlxwire.InvalidParams):
            assert stream.done

    with_worker(test)


def test_a_stream_that_outlives_its_loop_is_lost_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
):
    async def main() -> mlxwire.TokenStream:
        worker = MemoryWorker()
        await worker.greet()
        return (await two_tokens(worker))[0]

    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    stream = run(main())
    del stream
    gc.collect()
    assert complaints == []
