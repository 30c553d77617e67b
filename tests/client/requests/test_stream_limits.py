"""A stream counts the bytes that it holds, the credit that it grants, the tokens that it gave."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from mlxwire.requests.route import WINDOW_MESSAGE_BYTES
from mlxwire.requests.stream_request import MESSAGE_OVERHEAD_BYTES
from mlxwire.requests.token_request import TokenRequest
from support.memory_worker import MemoryWorker

ONE_TOKEN = MESSAGE_OVERHEAD_BYTES + 1


async def entered(worker: MemoryWorker, stream: mlxwire.TokenStream) -> str:
    """Enter a stream; return its request's id."""
    await stream.__aenter__()
    return (await worker.process.request("generate"))["id"]


async def test_credit_is_granted_once_for_each_half_of_the_window(memory):
    worker = await memory(buffer_bytes=8 * WINDOW_MESSAGE_BYTES, capabilities={"window": True})
    stream = worker.model.generate("p")
    request_id = await entered(worker, stream)
    for seq in range(16):
        worker.tokens(request_id, "a", first=seq)
        await anext(stream)
    granted = [each["n"] for each in worker.process.requests if each["cmd"] == "credit"]
    assert granted == [4, 4, 4, 4]


async def test_a_buffer_that_is_just_full_is_not_too_full(memory):
    worker = await memory(buffer_bytes=3 * ONE_TOKEN)
    stream = worker.model.generate("p")
    request_id = await entered(worker, stream)
    worker.tokens(request_id, "a", "b", "c")
    assert worker.process.requests == []
    worker.tokens(request_id, "d", first=3)
    assert (await worker.process.request("cancel"))["target"] == request_id
    with pytest.raises(mlxwire.SlowConsumer):
        [token async for token in stream]


async def test_the_likeliest_tokens_weigh_as_much_as_messages_of_their_own(memory):
    worker = await memory(buffer_bytes=5 * ONE_TOKEN)
    stream = worker.model.generate("p", top_logprobs=3)
    request_id = await entered(worker, stream)
    likely = [{"token": "a", "token_id": 1, "logprob": -1.0}] * 3
    for seq in range(2):
        token = {"token": "a", "token_id": 1, "logprob": -1.0, "top_logprobs": likely}
        worker.reply(request_id, type="token", seq=seq, **token)
    assert (await worker.process.request("cancel"))["target"] == request_id


async def test_a_buffer_is_weighed_far_less_often_than_it_grows(memory, monkeypatch):
    weighed = []
    cost = TokenRequest.cost

    def counted(request, message):
        weighed.append(message)
        return cost(request, message)

    monkeypatch.setattr(TokenRequest, "cost", counted)
    worker = await memory(buffer_bytes=1000 * ONE_TOKEN)
    request_id = await entered(worker, worker.model.generate("p"))
    worker.tokens(request_id, *["a"] * 900)
    assert len(weighed) < 10 * 900


async def test_text_that_was_held_back_counts_as_no_token_once_it_was_taken(memory):
    worker = await memory()
    for taken in (1, 2):
        stream = worker.model.generate("p")
        request_id = await entered(worker, stream)
        worker.tokens(request_id, "a")
        worker.reply(request_id, type="token", seq=1, token="b", token_id=1, flush=True)
        worker.error(request_id, "internal")
        for _ in range(taken):
            await anext(stream)
        with pytest.raises(mlxwire.InternalError) as caught:
            assert stream.done
        assert caught.value.tokens_delivered == 1


async def test_an_end_that_is_malformed_is_a_violation(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.reply(request_id, type="done", final=True, finish_reason="stop")
    with pytest.raises(mlxwire.ProtocolViolation, match="`done` is malformed"):
        await collecting


@pytest.mark.parametrize("kind", ["done", "result"])
async def test_a_strange_end_after_the_deadline_does_not_hide_the_deadline(memory, kind):
    worker = await memory()
    stream = worker.model.generate("p", timeout=0.0)
    request_id = await entered(worker, stream)
    with pytest.raises(mlxwire.RequestTimeout):
        await anext(stream)
    worker.reply(request_id, type=kind, final=True, finish_reason="cancelled")
    with pytest.raises(mlxwire.RequestTimeout):
        await anext(stream)


async def test_a_deadline_is_kept_though_there_are_tokens_to_be_taken(memory):
    worker = await memory()
    stream = worker.model.generate("p", timeout=0.0)
    request_id = await entered(worker, stream)
    worker.tokens(request_id, "a", "b")
    await worker.process.request("cancel")
    with pytest.raises(mlxwire.RequestTimeout):
        await anext(stream)


async def test_a_stream_that_was_left_ends_without_the_workers_word(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    request_id = await entered(worker, stream)
    worker.tokens(request_id, "a")
    stream.abandon()
    with pytest.raises(mlxwire.RequestCancelled):
        await stream.take_available()
    assert (await worker.process.request("cancel"))["target"] == request_id
    worker.done(request_id, "cancelled", stage="decode")


async def test_a_stream_that_was_left_before_it_was_sent_is_never_sent(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    await stream.aclose()
    with pytest.raises(mlxwire.RequestCancelled):
        await anext(stream)
    assert worker.process.requests == []


async def test_a_task_that_is_cancelled_at_its_stream_cancels_it_in_the_worker(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    taking = asyncio.create_task(anext(stream))
    request_id = (await worker.process.request("generate"))["id"]
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert (await worker.process.request("cancel"))["target"] == request_id
    worker.done(request_id, "cancelled", stage="prefill")


async def test_a_cancelled_taker_of_a_whole_stream_leaves_it(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    collecting = asyncio.create_task(stream.text())
    request_id = (await worker.process.request("generate"))["id"]
    collecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await collecting
    assert [each["target"] for each in worker.process.requests] == [request_id]
