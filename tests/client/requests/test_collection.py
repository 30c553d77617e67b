"""A stream that is left without a word: it is cancelled once nobody can take from it any more."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

import mlxwire


async def started(worker, taking):
    """Wait until the first token was asked for, and give two; return the request's id."""
    task = asyncio.create_task(taking)
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    return request_id, await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_that_is_lost_after_a_step_is_cancelled(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id, _ = await started(worker, anext(stream))
    await asyncio.sleep(0)
    assert not [r for r in worker.process.requests if r["cmd"] == "cancel"]
    del stream
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_a_stream_in_a_cycle_is_cancelled_by_the_collector(memory):
    worker = await memory()
    cycle = [worker.model.generate("p")]
    cycle.append(cycle)
    request_id, _ = await started(worker, anext(cycle[0]))
    del cycle
    gc.collect()
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_a_loop_that_an_exception_leaves_is_cancelled_though_the_traceback_lives(memory):
    worker = await memory()

    async def fail():
        async for _ in worker.model.generate("p"):
            raise ZeroDivisionError

    request_id, (error,) = await started(worker, fail())
    assert isinstance(error, ZeroDivisionError)
    assert error.__traceback__ is not None
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_a_generator_around_a_loop_cancels_when_it_is_left(memory):
    worker = await memory()

    async def texts():
        async for token in worker.model.generate("p"):
            yield token.text

    async def take_one():
        async for text in texts():
            return text
        return None

    request_id, (text,) = await started(worker, take_one())
    assert text == "a"
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_aclosing_leaves_as_async_with_does(memory):
    worker = await memory()
    stream = worker.model.generate("p")

    async def take_one():
        async with contextlib.aclosing(stream):
            async for token in stream:
                return token.text
        return None

    taking = asyncio.create_task(take_one())
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    cancel = await worker.process.request("cancel")
    assert cancel["target"] == request_id
    assert not taking.done(), "it waits for the worker's word"
    worker.reply(cancel["id"], type="result", final=True, outcome="accepted")
    worker.done(request_id, "cancelled", stage="decode")
    assert await taking == "a"
    with pytest.raises(mlxwire.RequestCancelled, match="its own stream"):
        await anext(stream)
