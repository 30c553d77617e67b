"""Many prompts in one request, over a worker in memory."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire

ERROR = {"code": "context_overflow", "message": "too long", "retryable": False, "data": {}}


def item(worker, request_id, index, text="t", error=None):
    worker.reply(
        request_id,
        type="item",
        index=index,
        text="" if error else text,
        token_ids=[] if error else [7],
        finish_reason=None if error else "stop",
        tokens_generated=0 if error else 1,
        error=error,
    )


def token(worker, request_id, index, seq, text):
    fields = {"flush": False, "logprob": -1.5, "top_logprobs": None}
    worker.reply(
        request_id, type="token", index=index, seq=seq, token=text, token_id=7, **fields
    )


async def test_results_come_as_they_end_each_with_its_own_error(memory):
    worker = await memory()
    async with worker.model.batch(["a", "b"], max_tokens=1, seed=None) as batch:
        request = await worker.process.request("batch")
        item(worker, request["id"], 1, error=ERROR)
        first = await anext(batch)
        item(worker, request["id"], 0, text="x")
        worker.done(request["id"])
        second = await anext(batch)
        assert await anext(batch, None) is None
    assert request == {
        "id": request["id"],
        "cmd": "batch",
        "prompts": ["a", "b"],
        "max_tokens": 1,
    }
    assert (first.index, first.finish_reason, first.tokens_generated) == (1, None, 0)
    assert isinstance(first.error, mlxwire.ContextOverflow)
    assert (second.index, second.text, second.token_ids) == (0, "x", [7])
    assert (second.finish_reason, second.error) == ("stop", None)
    assert batch.done.tokens_generated == 3
    assert worker.model.metrics == batch.done.metrics


async def test_results_are_collected_in_the_order_of_the_prompts(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.batch(["a", "b", "c"]).results())
    request = await worker.process.request("batch")
    for index in (2, 0, 1):
        item(worker, request["id"], index, text=str(index))
    worker.done(request["id"])
    assert [result.text for result in await collecting] == ["0", "1", "2"]


async def test_tokens_are_told_by_prompt_and_count_as_taken(memory):
    worker = await memory(buffer_bytes=1024, capabilities={"window": True})
    told = []
    batch = worker.model.batch(
        ["a", "b"], on_token=lambda token: told.append((token.index, token.text))
    )
    collecting = asyncio.create_task(batch.results())
    request = await worker.process.request("batch")
    assert (request["stream"], request["window"]) == (True, 4)
    token(worker, request["id"], 1, 0, "x")
    token(worker, request["id"], 0, 0, "y")
    credit = await worker.process.request("credit")
    assert (credit["target"], credit["n"]) == (request["id"], 2)
    token(worker, request["id"], 1, 1, "z")
    item(worker, request["id"], 1, text="xz")
    item(worker, request["id"], 0, text="y")
    worker.done(request["id"])
    assert [result.text for result in await collecting] == ["y", "xz"]
    assert told == [(1, "x"), (0, "y"), (1, "z")]


async def test_a_callback_that_fails_costs_the_batch_nothing(memory):
    worker = await memory()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
    batch = worker.model.batch(["a"], on_token=lambda _: 1 / 0)
    collecting = asyncio.create_task(batch.results())
    request = await worker.process.request("batch")
    token(worker, request["id"], 0, 0, "x")
    item(worker, request["id"], 0)
    worker.done(request["id"])
    assert len(await collecting) == 1
    assert isinstance(complaints[0]["exception"], ZeroDivisionError)


async def test_leaving_cancels_the_batch_as_a_whole(memory):
    worker = await memory()
    told = []
    batch = worker.model.batch(["a", "b"], on_token=told.append)
    await batch.__aenter__()
    request = await worker.process.request("batch")
    item(worker, request["id"], 0)
    assert (await anext(batch)).index == 0
    leaving = asyncio.create_task(batch.aclose())
    assert (await worker.process.request("cancel"))["target"] == request["id"]
    token(worker, request["id"], 1, 0, "late")
    item(worker, request["id"], 1)
    worker.done(request["id"], "cancelled", stage="decode")
    await leaving
    assert batch.done.finish_reason == "cancelled"
    assert told == []
    assert worker.process.requests == []


async def test_an_option_that_is_wrong_fails_all(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.batch(["a"], top_p=2).results())
    request = await worker.process.request("batch")
    worker.error(request["id"], "invalid_params", field="top_p")
    with pytest.raises(mlxwire.InvalidParams):
        await collecting


async def test_a_malformed_item_is_an_offence(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.batch(["a"]).results())
    request = await worker.process.request("batch")
    worker.reply(request["id"], type="item", index=0, text=5)
    with pytest.raises(mlxwire.ProtocolViolation):
        await collecting
    assert worker.process.returncode is not None
