"""Text that was held back to the end comes in a message of its own, and is no token (SPEC §5)."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire

PASSED = {"code": "deadline_exceeded", "message": "ask for less", "retryable": False}


def flush(worker, request_id, seq, **more):
    worker.reply(request_id, type="token", seq=seq, token="!", token_id=1, flush=True, **more)


async def test_it_is_text_and_no_token_that_was_delivered(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    taking = asyncio.create_task(stream.take_all())
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    flush(worker, request_id, 2)
    error = {**PASSED, "data": {"stage": "decode", "tokens_generated": 2}}
    worker.reply(request_id, type="error", final=True, error=error)
    with pytest.raises(mlxwire.DeadlineExceeded) as caught:
        await taking
    assert caught.value.tokens_delivered == caught.value.data["tokens_generated"] == 2


async def test_a_batch_does_not_count_it_either(memory):
    worker = await memory()
    told = []
    batch = worker.model.batch(["a"], on_token=told.append)
    asking = asyncio.create_task(batch.results())
    request_id = (await worker.process.request("batch"))["id"]
    worker.reply(request_id, type="token", seq=0, index=0, token="t", token_id=1)
    flush(worker, request_id, 1, index=0)
    worker.process.exit(1)
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await asking
    assert (caught.value.tokens_delivered, len(told)) == (1, 2)
