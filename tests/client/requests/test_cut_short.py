"""A request that another call ended raises a typed error in the call that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import mlxwire
from mlxwire import sync

ENDLESS: mlxwire.GenerateOptions = {"max_tokens": 9000, "ignore_eos": True}
SLOW = ["--mock-step-seconds", "0.01"]
Way = Callable[[mlxwire.Model], Coroutine[Any, Any, object]]
WAYS: dict[str, Way] = {
    "text": lambda model: model.generate("p", **ENDLESS).text(),
    "results": lambda model: model.batch(["p", "q"], **ENDLESS).results(),
    "classify": lambda model: model.classify(["p"] * 50_000),
}


@pytest.fixture
async def worker() -> AsyncIterator[mlxwire.Worker]:
    async with mlxwire.Worker(engine="mock", args=SLOW) as started:
        yield started


@pytest.mark.parametrize("command", ["load", "cache", "info"])
async def test_a_call_that_another_one_cancelled_says_so(memory, command):
    script = await memory()
    calls = {
        "load": mlxwire.requests.pending.ask(script.connection, "load", {"path": "p"}),
        "cache": script.model.cache.warm("p"),
        "info": script.model.info(),
    }
    for other in calls.keys() - {command}:
        calls[other].close()
    asking = asyncio.create_task(calls[command])
    request = await script.process.request(command)
    script.done(request["id"], "cancelled", stage="queued")
    with pytest.raises(mlxwire.RequestCancelled, match="cancelled by another call") as caught:
        await asking
    assert caught.value.code == "cancelled"
    assert not caught.value.retryable
    assert script.connection.failure is None


async def test_a_call_that_ended_as_a_stream_for_no_reason_is_a_violation(memory):
    script = await memory()
    asking = asyncio.create_task(script.model.info())
    script.done((await script.process.request("info"))["id"], "stop")
    with pytest.raises(mlxwire.ProtocolViolation):
        await asking


async def cut_off(
    worker: mlxwire.Worker,
    way: Way,
    end: Callable[[mlxwire.Worker], Coroutine[Any, Any, object]],
) -> mlxwire.MlxwireError:
    """Return the error that a caller gets for a request that the host ends elsewhere."""
    model = await worker.load("p", context_len=10_000)
    waiting = asyncio.create_task(way(model))
    await worker.metrics()  # answered after the request was heard
    await end(worker)
    with pytest.raises(mlxwire.MlxwireError) as caught:
        await waiting
    return caught.value


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_another_call_cancelled_is_no_whole_answer(worker, way):
    error = await cut_off(worker, way, mlxwire.Worker.cancel)
    assert isinstance(error, mlxwire.RequestCancelled)
    assert not error.retryable


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_a_close_cancelled_is_no_whole_answer(worker, way):
    error = await cut_off(worker, way, mlxwire.Worker.close)
    assert isinstance(error, mlxwire.RequestCancelled)
    assert "closed" in error.message


def test_what_another_thread_cancelled_is_no_whole_answer():
    with sync.Worker(engine="mock", args=SLOW) as worker:
        model = worker.load("p", context_len=10_000)
        stream = model.batch(["p"] * 5000, max_tokens=8, ignore_eos=True)
        first = next(stream)
        worker.cancel()
        with pytest.raises(mlxwire.RequestCancelled):
            stream.results()
        assert first.index == 0


def test_results_are_all_that_was_not_taken():
    with sync.Worker(engine="mock") as worker:
        stream = worker.load("p").batch(["p"] * 10, max_tokens=2)
        first = next(stream)
        assert [first.index, *(result.index for result in stream.results())] == [*range(10)]
