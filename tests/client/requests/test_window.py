"""A stream is sent as far as its consumer took it, where the worker knows `window`."""

from __future__ import annotations

import asyncio
import gc

import pytest

import mlxwire
from mlxwire.requests.route import LARGEST_WINDOW, WINDOW_MESSAGE_BYTES

WINDOW = 8
BUFFER = {"buffer_bytes": WINDOW * WINDOW_MESSAGE_BYTES, "capabilities": {"window": True}}


def granted(worker):
    """Return the credit that was granted since the last look, by target."""
    found = [request for request in worker.process.requests if request["cmd"] == "credit"]
    for request in found:
        worker.process.requests.remove(request)
        worker.reply(request["id"], type="result", final=True, credit=1)
    return [(request["target"], request["n"]) for request in found]


async def entered(worker, stream):
    await stream.__aenter__()
    return await worker.process.request("generate")


async def test_a_worker_without_the_capability_is_sent_no_window(memory):
    for capabilities in ({}, {"window": False}):
        worker = await memory(capabilities=capabilities)
        assert "window" not in await entered(worker, worker.model.generate("p"))


async def test_every_kind_of_stream_names_its_window(memory):
    worker = await memory(capabilities={"window": True})
    asked = [
        worker.model.generate("p").text(),
        worker.model.chat("p").text(),
        worker.model.batch(["p"]).results(),
        worker.model.classify(["p"]),
        worker.model.embed(["p"]),
        worker.model.score(["p"]),
    ]
    tasks = [asyncio.create_task(each) for each in asked]
    for command in ("generate", "chat", "batch", "classify", "embed", "score"):
        request = await worker.process.request(command)
        assert request["window"] == LARGEST_WINDOW
        worker.done(request["id"])
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("buffer_bytes", "window"), [(0, 1), (2048, 8), (1 << 40, 4096)])
async def test_a_window_is_no_larger_than_the_buffer(memory, buffer_bytes, window):
    worker = await memory(buffer_bytes=buffer_bytes, capabilities={"window": True})
    request = await entered(worker, worker.model.generate("p"))
    assert request["window"] == window


async def test_credit_is_granted_by_halves_of_the_window_as_tokens_are_taken(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *"abcdefgh")
    for _ in range(3):
        await anext(stream)
    assert granted(worker) == []
    await anext(stream)
    assert granted(worker) == [(request["id"], 4)]
    assert len(await stream.take_available()) == 4
    assert granted(worker) == [(request["id"], 4)]
    worker.done(request["id"])
    assert await anext(stream, None) is None


@pytest.mark.parametrize("buffer_bytes", [0, 600, 2000])
async def test_a_worker_that_keeps_to_its_credit_is_never_left_without(memory, buffer_bytes):
    worker = await memory(buffer_bytes=buffer_bytes, capabilities={"window": True})
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request = await worker.process.request("generate")
    allowed, sent = request["window"], 0
    while sent < 100:
        assert sent < allowed
        worker.tokens(request["id"], "x", first=sent)
        sent += 1
        while sent == allowed:
            credit = await worker.process.request("credit")
            worker.reply(credit["id"], type="result", final=True, credit=1)
            allowed += credit["n"]
    worker.done(request["id"])
    assert await collecting == "x" * 100


async def test_what_ended_is_granted_no_more(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *"abcdefgh")
    worker.done(request["id"])
    assert "".join([token.text async for token in stream]) == "abcdefgh"
    assert worker.process.requests == []


async def test_leaving_drains_without_credit(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *"abcdef")
    leaving = asyncio.create_task(stream.aclose())
    assert (await worker.process.request("cancel"))["target"] == request["id"]
    worker.tokens(request["id"], *"gh", first=6)
    worker.done(request["id"], "cancelled", stage="decode")
    await leaving
    assert granted(worker) == []
    assert worker.connection.failure is None


async def test_long_tokens_within_the_window_cost_nobody_a_stream(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *["x" * 5000] * WINDOW)
    worker.done(request["id"])
    assert len([token async for token in stream]) == WINDOW


async def test_a_worker_that_sends_past_its_credit_meets_the_buffers_limit(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *["x"] * 50)
    assert (await worker.process.request("cancel"))["target"] == request["id"]
    with pytest.raises(mlxwire.SlowConsumer):
        async for _ in stream:
            pass


async def test_a_refused_credit_is_no_trouble(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.tokens(request["id"], *"abcd")
    for _ in range(4):
        await anext(stream)
    worker.error((await worker.process.request("credit"))["id"], "invalid_params")
    worker.done(request["id"])
    assert await anext(stream, None) is None


async def test_a_stream_that_is_lost_holds_nothing(memory):
    worker = await memory(**BUFFER)
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    del stream
    gc.collect()
    assert (await worker.process.request("cancel"))["target"] == request["id"]


async def test_a_stream_gives_its_rest_though_its_model_was_replaced(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request = await entered(worker, stream)
    worker.route.close("it was replaced")
    worker.tokens(request["id"], "a", "b")
    worker.done(request["id"])
    assert await stream.text() == "ab"
    with pytest.raises(mlxwire.ModelNotLoaded):
        await worker.model.generate("p").text()
