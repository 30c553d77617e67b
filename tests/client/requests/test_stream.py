"""Streams, over a worker in memory."""

from __future__ import annotations

import asyncio
import gc

import pytest

import mlxwire


async def take(stream):
    return [token.text async for token in stream]


async def test_a_stream_gives_its_tokens_and_then_how_it_ended(memory):
    worker = await memory()
    stream = worker.model.generate("p", max_tokens=3)
    taking = asyncio.create_task(take(stream))
    request = await worker.process.request("generate")
    worker.tokens(request["id"], "a", "", "c")
    worker.done(request["id"], "length")
    assert await taking == ["a", "", "c"]
    assert stream.done.finish_reason == "length"
    assert stream.done.tokens_generated == 3
    assert stream.done.stage is None
    assert stream.done.metrics.decode_tokens_per_second == 12.5
    assert worker.model.metrics == stream.done.metrics


async def test_only_what_the_caller_set_is_sent(memory):
    worker = await memory()
    async with worker.model.generate("p", seed=None, top_k=0, stop=("x", "y")) as stream:
        request = await worker.process.request("generate")
        worker.done(request["id"])
        await take(stream)
    assert request == {
        "id": request["id"],
        "cmd": "generate",
        "prompt": "p",
        "top_k": 0,
        "stop": ["x", "y"],
    }


@pytest.mark.parametrize(
    "messages",
    ["hi", [{"role": "user", "content": "hi"}], [mlxwire.Message(role="user", content="hi")]],
)
async def test_a_conversation_may_be_a_string_dicts_or_messages(memory, messages):
    worker = await memory()
    async with worker.model.chat(messages, thinking=False) as stream:
        request = await worker.process.request("chat")
        worker.done(request["id"])
        await take(stream)
    assert request["messages"] == [{"role": "user", "content": "hi"}]
    assert request["thinking"] is False


async def test_a_token_carries_all_that_the_wire_says(memory):
    worker = await memory()
    async with worker.model.generate("p") as stream:
        request = await worker.process.request("generate")
        worker.reply(
            request["id"],
            type="token",
            seq=0,
            token="x",
            token_id=7,
            logprob=-0.5,
            channel="thinking",
            unheard_of=1,
        )
        worker.reply(request["id"], type="token", seq=1, token="y", token_id=7, flush=True)
        worker.done(request["id"])
        first, second = [token async for token in stream]
    assert (first.text, first.id, first.seq, first.flush) == ("x", 7, 0, False)
    assert (first.channel, first.logprob) == ("thinking", -0.5)
    assert (second.text, second.seq, second.flush) == ("y", 1, True)


async def test_text_collects_the_plain_channel(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.chat("hi").text())
    request = await worker.process.request("chat")
    worker.reply(request["id"], type="token", seq=0, token="hm", token_id=1, channel="thinking")
    worker.tokens(request["id"], "5", ".", first=1)
    worker.done(request["id"])
    assert await collecting == "5."


async def test_a_stream_that_nobody_iterates_sends_nothing(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    await stream.aclose()
    with pytest.raises(mlxwire.RequestCancelled):
        await take(stream)
    del stream
    assert worker.process.requests == []


async def test_a_stream_entered_and_not_iterated_is_cancelled(memory):
    worker = await memory()

    async def enter_and_leave():
        async with worker.model.generate("p"):
            pass

    leaving = asyncio.create_task(enter_and_leave())
    request = await worker.process.request("generate")
    assert (await worker.process.request("cancel"))["target"] == request["id"]
    worker.done(request["id"], "cancelled", stage="queued")
    await leaving


async def test_done_before_the_end_is_an_error(memory):
    worker = await memory()
    with pytest.raises(RuntimeError, match="not ended"):
        _ = worker.model.generate("p").done


async def test_an_error_from_the_worker_comes_after_the_tokens_before_it(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    await stream.__aenter__()
    request = await worker.process.request("generate")
    worker.tokens(request["id"], "a")
    worker.error(request["id"], "out_of_memory")
    assert (await anext(stream)).text == "a"
    with pytest.raises(mlxwire.OutOfMemory):
        await anext(stream)
    with pytest.raises(mlxwire.OutOfMemory):
        _ = stream.done


async def test_an_error_of_a_stream_tells_of_nothing_but_its_cause(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    asking = asyncio.create_task(anext(stream))
    request_id = (await worker.process.request("generate"))["id"]
    worker.error(request_id, "out_of_memory")
    with pytest.raises(mlxwire.OutOfMemory) as caught:
        await asking
    assert caught.value.__context__ is None


async def test_a_value_that_json_cannot_carry_is_refused_before_it_is_sent(memory):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await worker.model.generate("lone surrogate \ud800").text()
    assert caught.value.field == "prompt"
    with pytest.raises(mlxwire.MessageTooLarge):
        await worker.model.generate("x" * (17 << 20)).text()
    assert worker.process.requests == []
    assert worker.connection.failure is None


async def test_an_unknown_option_goes_to_the_worker_to_refuse(memory):
    worker = await memory()
    asking = asyncio.create_task(worker.model.generate("p", max_token=1).text())
    request = await worker.process.request("generate")
    assert request["max_token"] == 1
    worker.error(request["id"], "invalid_params", field="max_token")
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await asking
    assert caught.value.field == "max_token"


async def test_a_slow_consumer_loses_its_own_stream_alone(memory):
    worker = await memory(buffer_bytes=2000)
    slow = worker.model.generate("slow")
    quick = worker.model.generate("quick")
    await slow.__aenter__()
    slow_id = (await worker.process.request("generate"))["id"]
    taking = asyncio.create_task(take(quick))
    quick_id = (await worker.process.request("generate"))["id"]
    for seq in range(50):
        worker.tokens(slow_id, "s", first=seq)
        worker.tokens(quick_id, "q", first=seq)
        await asyncio.sleep(0)
    worker.done(quick_id)
    assert await taking == ["q"] * 50
    assert (await worker.process.request("cancel"))["target"] == slow_id
    worker.done(slow_id, "cancelled", stage="decode")
    for _ in range(2000 // 161 + 1):
        assert (await anext(slow)).text == "s"
    with pytest.raises(mlxwire.SlowConsumer):
        await anext(slow)
    assert worker.connection.failure is None


async def test_tokens_that_are_taken_make_room_for_others(memory):
    worker = await memory(buffer_bytes=2000)
    async with worker.model.generate("p") as stream:
        request_id = (await worker.process.request("generate"))["id"]
        for seq in range(200):
            worker.tokens(request_id, "x", first=seq)
            assert (await anext(stream)).seq == seq
        worker.done(request_id)


async def test_progress_is_handed_on_and_a_failing_callback_hurts_nobody(memory):
    worker = await memory()
    reports = []
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))

    def report(progress):
        reports.append((progress.stage, progress.done, progress.total))
        raise ValueError("the host's own trouble")

    collecting = asyncio.create_task(worker.model.generate("p", on_progress=report).text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.reply(request_id, type="progress", stage="prefill", done=1, total=2)
    worker.reply(request_id, type="rumour", anything=1)
    worker.done(request_id)
    assert await collecting == ""
    assert reports == [("prefill", 1, 2)]
    assert isinstance(complaints[0]["exception"], ValueError)


async def test_many_streams_interleave_without_a_mix_up(memory):
    worker = await memory()
    tasks = [asyncio.create_task(take(worker.model.generate(str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    requests = [await worker.process.request("generate") for _ in tasks]
    for seq in range(10):
        for request in requests:
            worker.tokens(request["id"], request["prompt"], first=seq)
    for request in reversed(requests):
        worker.done(request["id"])
    assert await asyncio.gather(*tasks) == [[str(n)] * 10 for n in range(20)]


async def test_classify_gives_results_in_the_prompts_order(memory):
    worker = await memory()
    asking = asyncio.create_task(worker.model.classify(["a", "b"], labels=["x"], logits=True))
    request = await worker.process.request("classify")
    assert request["labels"] == ["x"]
    assert request["logits"] is True
    for index in (1, 0):
        worker.reply(
            request["id"],
            type="item",
            index=index,
            token="t",
            token_id=3,
            logprob=-1,
            logits=[0.5, None],
            labels={"x": 1},
        )
    worker.done(request["id"])
    results = await asking
    assert [result.index for result in results] == [0, 1]
    assert results[0].text == "t"
    assert results[0].logits == [0.5, None]
    assert results[0].labels == {"x": 1}
    assert worker.model.metrics.generated_tokens == 3


async def test_a_lost_stream_is_cancelled_when_it_is_collected(memory):
    worker = await memory()

    async def look_at_one_token():
        async for _ in worker.model.generate("p"):
            break

    looking = asyncio.create_task(look_at_one_token())
    request = await worker.process.request("generate")
    worker.tokens(request["id"], "a", "b")
    await looking
    del looking
    gc.collect()
    assert (await worker.process.request("cancel"))["target"] == request["id"]


async def test_a_model_that_was_closed_says_so(memory):
    worker = await memory()
    await worker.model.close()
    await worker.model.close()
    with pytest.raises(mlxwire.ModelNotLoaded, match="closed"):
        await worker.model.generate("p").text()
    assert worker.process.requests == []


async def test_a_result_where_done_was_due_is_a_violation(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.reply(request_id, type="result", final=True)
    with pytest.raises(mlxwire.ProtocolViolation, match="done"):
        await collecting


async def test_the_text_may_be_asked_for_again(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    collecting = asyncio.create_task(stream.text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    worker.done(request_id)
    assert await collecting == "ab"
    assert await stream.text() == "ab"


@pytest.mark.parametrize("take_rest", [False, True])
async def test_text_after_tokens_were_taken_is_the_whole_text(memory, take_rest):
    worker = await memory()
    async with worker.model.generate("p") as stream:
        request_id = (await worker.process.request("generate"))["id"]
        worker.tokens(request_id, "a", "b", "c")
        worker.done(request_id)
        await anext(stream)
        if take_rest:
            assert [token.text async for token in stream] == ["b", "c"]
        assert await stream.text() == "abc"
        assert (await stream.message())["content"] == "abc"


async def test_a_stream_that_was_left_has_no_text(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    leaving = asyncio.create_task(anext(stream))
    worker.tokens((await worker.process.request("generate"))["id"], "a", "b")
    await leaving
    stream.abandon()
    with pytest.raises(mlxwire.RequestCancelled) as caught:
        await stream.text()
    assert [token.text for token in caught.value.results] == ["a", "b"]


async def test_a_failure_says_how_many_tokens_came_before_it(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    taking = asyncio.create_task(take(stream))
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b", "c")
    worker.process.die(1)
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await taking
    assert caught.value.tokens_delivered == 3
    assert caught.value.retryable
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await worker.model.generate("q").text()
    assert caught.value.tokens_delivered == 0


@pytest.mark.parametrize("told", [True, False], ids=["with on_token", "without"])
async def test_a_batchs_failure_counts_the_tokens_of_all_its_prompts(memory, told):
    worker = await memory()
    tokens = []
    batch = worker.model.batch(["a", "b"], on_token=tokens.append if told else None)
    asking = asyncio.create_task(batch.results())
    request_id = (await worker.process.request("batch"))["id"]
    if told:
        worker.reply(request_id, type="token", seq=0, index=0, token="t", token_id=1)
        worker.reply(request_id, type="token", seq=0, index=1, token="t", token_id=1)
    else:
        item = {"text": "tt", "token_ids": [1, 1], "finish_reason": "stop", "error": None}
        worker.reply(request_id, type="item", index=0, tokens_generated=2, **item)
    worker.process.die(1)
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await asking
    assert caught.value.tokens_delivered == 2
