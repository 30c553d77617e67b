"""Leaving a request early: it is cancelled in the worker, and the caller does not wait for it."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from support.memory_worker import with_worker
from support.virtual_time import now, run


async def first_token(worker, stream):
    """Enter a stream and give it one token; return its request's id."""
    await stream.__aenter__()
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    assert (await anext(stream)).text == "a"
    return request_id


async def test_a_break_waits_for_the_workers_word(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id = await first_token(worker, stream)
    leaving = asyncio.create_task(stream.__aexit__(None, None, None))
    cancel = await worker.process.request("cancel")
    assert cancel["target"] == request_id
    assert not leaving.done()
    with pytest.raises(RuntimeError, match=r"not confirmed that yet.*aclose\(\)"):
        _ = stream.done
    worker.tokens(request_id, "late", first=2)
    worker.reply(cancel["id"], type="result", final=True, outcome="accepted")
    worker.done(request_id, "cancelled", stage="decode")
    await leaving
    assert stream.done.finish_reason == "cancelled"
    assert stream.done.stage == "decode"
    with pytest.raises(mlxwire.RequestCancelled, match="its own stream"):
        await anext(stream)


async def test_the_callers_own_exception_comes_back_at_once(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id = await first_token(worker, stream)

    async def fail():
        async with stream:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await worker.process.request("cancel"))["target"] == request_id
    worker.done(request_id, "cancelled", stage="decode")
    assert stream.done.stage == "decode"


async def test_a_cancelled_task_stays_cancelled(memory):
    worker = await memory()

    async def consume():
        async with worker.model.generate("p") as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(consume())
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a")
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await worker.process.request("cancel"))["target"] == request_id


@pytest.mark.parametrize("way", ["text", "iterate", "classify", "info"])
async def test_a_cancelled_task_cancels_whatever_it_waits_for(memory, way):
    worker = await memory()

    async def consume():
        if way == "text":
            await worker.model.generate("p").text()
        elif way == "iterate":
            async for _ in worker.model.generate("p"):
                pass
        elif way == "classify":
            await worker.model.classify(["p"])
        else:
            await worker.model.info()

    task = asyncio.create_task(consume())
    command = {"text": "generate", "iterate": "generate"}.get(way, way)
    request_id = (await worker.process.request(command))["id"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_a_natural_end_that_wins_over_the_cancel_is_no_trouble(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id = await first_token(worker, stream)
    leaving = asyncio.create_task(stream.aclose())
    cancel = await worker.process.request("cancel")
    worker.done(request_id, "stop")
    worker.reply(cancel["id"], type="result", final=True, outcome="finished")
    await leaving
    assert stream.done.finish_reason == "stop"
    assert worker.connection.failure is None


async def test_leaving_twice_cancels_once(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id = await first_token(worker, stream)
    leaving = [asyncio.create_task(stream.aclose()) for _ in range(3)]
    await worker.process.request("cancel")
    worker.done(request_id, "cancelled", stage="decode")
    await asyncio.gather(*leaving)
    assert worker.process.requests == []


async def test_a_worker_that_does_not_confirm_costs_the_drain_limit(memory):
    worker = await memory(drain=0.05)
    stream = worker.model.generate("p")
    request_id = await first_token(worker, stream)
    with pytest.raises(mlxwire.DrainTimeout) as caught:
        await stream.aclose()
    assert caught.value.tokens_delivered == 1
    worker.tokens(request_id, "late", first=2)
    worker.done(request_id, "cancelled", stage="decode")  # late, and still no offence
    assert worker.connection.failure is None


def test_a_deadline_raises_cancels_and_drains():
    async def test(worker):
        stream = worker.model.generate("p", timeout=5)
        await first_token(worker, stream)
        with pytest.raises(mlxwire.RequestTimeout) as caught:
            async for _ in stream:
                pass
        assert now() == pytest.approx(5)
        assert isinstance(caught.value, TimeoutError)
        cancel = await worker.process.request("cancel")
        worker.done(cancel["target"], "cancelled", stage="decode")
        assert worker.connection.failure is None

    run(with_worker(test))


def test_the_workers_time_out_holds_for_requests_without_their_own():
    async def test(worker):
        with pytest.raises(mlxwire.RequestTimeout):
            await worker.model.info()
        with pytest.raises(mlxwire.RequestTimeout):
            await worker.model.classify(["p"])
        assert now() == pytest.approx(10)

    run(with_worker(test, request_timeout=5))


async def test_a_deadline_that_is_met_is_forgotten(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p", timeout=60).text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.done(request_id)
    await collecting
    assert worker.connection.failure is None


async def test_an_outer_time_out_is_the_callers_own(memory):
    worker = await memory()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await worker.model.generate("p").text()
    assert not isinstance(caught.value, mlxwire.MlxwireError)
    assert await worker.process.request("cancel")


async def test_a_crash_while_leaving_is_not_the_leavers_trouble(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    await first_token(worker, stream)
    leaving = asyncio.create_task(stream.aclose())
    await worker.process.request("cancel")
    worker.process.die(1)
    await leaving
    with pytest.raises(mlxwire.WorkerCrashed):
        await worker.model.info()


async def test_leaving_a_loop_cancels_at_once_though_the_stream_is_held(memory):
    worker = await memory()
    stream = worker.model.generate("p")

    async def look_at_one_token():
        async for token in stream:
            return token.text
        return None

    looking = asyncio.create_task(look_at_one_token())
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    assert await looking == "a"
    assert (await worker.process.request("cancel"))["target"] == request_id
    worker.done(request_id, "cancelled", stage="decode")
    with pytest.raises(RuntimeError, match="iterated before"):
        [token async for token in stream]
    with pytest.raises(mlxwire.RequestCancelled, match="its own stream"):
        await anext(stream)
    assert stream.done.finish_reason == "cancelled"


async def test_a_loop_inside_of_a_with_may_be_left_and_taken_up_again(memory):
    worker = await memory()
    async with worker.model.generate("p") as stream:
        request_id = (await worker.process.request("generate"))["id"]
        worker.tokens(request_id, "a", "b")
        async for token in stream:
            assert token.text == "a"
            break
        await asyncio.sleep(0)
        worker.done(request_id)
        assert [token.text async for token in stream] == ["b"]
    assert not [r for r in worker.process.requests if r["cmd"] == "cancel"]
