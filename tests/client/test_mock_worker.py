"""The client against the worker that ships, with its mock engine."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from mlxwire.requests.route import LARGEST_WINDOW
from support.patience import PATIENCE_SECONDS

LONG = 50_000


@pytest.fixture
async def worker():
    async with mlxwire.Worker(engine="mock") as worker:
        yield worker


async def test_the_session_of_the_readme(capsys, monkeypatch):
    monkeypatch.setenv("MLXWIRE_WORKER", "")
    async with mlxwire.Worker(engine="mock") as worker:
        model = await worker.load("testdata/tiny")
        async with model.chat("What is 2 + 3?", max_tokens=32) as stream:
            async for token in stream:
                print(token.text, end="", flush=True)
        print(stream.done.finish_reason, stream.done.metrics.decode_tokens_per_second)
    assert capsys.readouterr().out.startswith("What is 2 + 3?stop ")
    assert worker.returncode == 0


async def test_load_reports_progress_and_says_what_it_loaded(worker):
    stages = []
    model = await worker.load(
        "p", context_len=99, on_progress=lambda report: stages.append(report.stage)
    )
    assert stages[0] == "load"
    assert model.loaded.context_len == 99
    assert (await model.info()).context_len == 99


async def test_a_later_load_makes_the_earlier_model_void(worker):
    first = await worker.load("p")
    second = await worker.load("q")
    with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
        await first.info()
    await first.close()
    assert (await second.info()).path == "q"
    await second.close()
    with pytest.raises(mlxwire.ModelNotLoaded):
        await second.info()


async def test_a_load_that_nobody_waits_for_still_replaces_the_model(script):
    async with mlxwire.Worker(script("good")) as worker:
        first = await worker.load("p")
        loading = asyncio.create_task(worker.load("q"))
        await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        await worker.cancel()
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
            await first.info()


async def test_of_two_loads_at_once_the_later_one_holds(script):
    async with mlxwire.Worker(script("good")) as worker:
        first, second = await asyncio.gather(worker.load("p"), worker.load("q"))
        assert (await second.info()).model_type == "script"
        with pytest.raises(mlxwire.ModelNotLoaded, match="replaced"):
            await first.info()


async def test_a_failed_load_keeps_the_model(worker):
    model = await worker.load("p")
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await worker.load("q", parallel_slots=-1)
    assert caught.value.field == "parallel_slots"
    assert await model.generate("a b").text() == "a b"


async def test_a_stream_is_cancelled_by_its_id(worker):
    model = await worker.load("p")
    async with model.generate("a b", ignore_eos=True, max_tokens=8000) as stream:
        await anext(stream)
        assert (await worker.cancel(stream.id)).outcome in ("accepted", "finished")
        with pytest.raises(mlxwire.RequestCancelled, match="another call"):
            async for _ in stream:
                pass
    assert stream.done.finish_reason == "cancelled"
    assert (await worker.cancel("nobody")).outcome == "unknown"


async def test_leaving_early_frees_the_worker(worker):
    model = await worker.load("p")
    async with model.generate("a b", ignore_eos=True, max_tokens=8000) as stream:
        await anext(stream)
    assert stream.done.finish_reason in ("cancelled", "length")
    metrics = await worker.metrics()
    assert metrics.in_flight == 0
    assert metrics.requests >= 2


async def test_many_streams_at_once_give_their_own_texts(worker):
    model = await worker.load("p")
    texts = [f"stream {number} says this" for number in range(50)]
    streams = [model.generate(text).text() for text in texts]
    assert await asyncio.gather(*streams) == texts


async def test_an_unknown_option_is_refused_by_name(worker):
    model = await worker.load("p")
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await model.generate("p", temprature=1).text()
    assert caught.value.field == "temprature"


async def test_a_prompt_that_exceeds_the_context_is_refused(worker):
    model = await worker.load("p", context_len=2)
    with pytest.raises(mlxwire.ContextOverflow):
        await model.generate("a b c d e f").text()


async def test_classify_gives_a_result_for_each_prompt(worker):
    model = await worker.load("p")
    results = await model.classify(["a", "b"], labels=["x", "y"])
    assert [result.index for result in results] == [0, 1]
    assert sum(results[0].labels.values()) == pytest.approx(1)
    with pytest.raises(mlxwire.InvalidParams):
        await model.classify([])


async def test_classify_sends_the_options_that_draw_a_token(worker):
    model = await worker.load("p")
    drawing = {"temperature": 1.5, "top_k": 2, "top_p": 0.5, "min_p": 0.1, "seed": 3}
    assert [item.text for item in await model.classify(["a b"], **drawing)] == ["a"]
    for name in drawing:
        with pytest.raises(mlxwire.InvalidParams) as refused:
            await model.classify(["a b"], **{name: -1})
        assert refused.value.field == name


async def test_a_load_tells_its_warnings(worker):
    assert (await worker.load("p")).loaded.warnings == []
    (warning,) = (await worker.load("p", memory_limit=7)).loaded.warnings
    assert "`memory_limit` is 7" in warning


async def test_a_batch_gives_a_result_for_each_prompt(worker):
    model = await worker.load("p", context_len=4)
    results = await model.batch(["a", "b c d e f", "g h"]).results()
    assert [result.text for result in results] == ["a", "", "g h"]
    assert isinstance(results[1].error, mlxwire.ContextOverflow)


async def test_a_batch_that_is_left_is_cancelled_as_a_whole(worker):
    model = await worker.load("p")
    async with model.batch(["a", "b"] * 50, ignore_eos=True, max_tokens=8000) as batch:
        await anext(batch)
    assert batch.done.finish_reason == "cancelled"
    assert (await worker.metrics()).in_flight == 0


async def test_a_sleeping_consumer_holds_back_itself_alone(worker):
    model = await worker.load("p", context_len=LONG + 100)
    async with model.generate("a b", ignore_eos=True, max_tokens=LONG) as asleep:
        await anext(asleep)
        other = model.generate("c", ignore_eos=True, max_tokens=LONG)
        assert len(await asyncio.wait_for(other.text(), PATIENCE_SECONDS)) == LONG
        assert len(await asleep.take_available()) == LARGEST_WINDOW - 1
        assert sum([1 async for _ in asleep]) == LONG - LARGEST_WINDOW
    assert asleep.done.tokens_generated == LONG


async def test_a_model_may_be_replaced_while_a_consumer_sleeps(worker):
    model = await worker.load("p")
    async with model.generate("a", ignore_eos=True, max_tokens=8000) as asleep:
        await anext(asleep)
        await asyncio.wait_for(worker.load("q"), PATIENCE_SECONDS)
        assert sum([1 async for _ in asleep]) == 7999


async def test_commands_that_are_not_about_a_text(worker):
    model = await worker.load("p")
    assert (await model.cache.warm("a b")).affected == 2
    assert (await model.cache.stats()).entries == 0
    assert (await worker.memory()).active_bytes > 0


async def test_heartbeats_come_while_nothing_is_asked():
    beats = asyncio.Queue()
    args = ["--heartbeat-seconds", "0.01"]
    async with mlxwire.Worker(
        engine="mock", args=args, events=["heartbeat"], on_event=beats.put_nowait
    ) as worker:
        assert worker.hello.events == ["heartbeat"]
        beat = await asyncio.wait_for(beats.get(), PATIENCE_SECONDS)
    assert isinstance(beat, mlxwire.Heartbeat)
    assert (beat.phase, beat.in_flight) == ("idle", 0)


@pytest.mark.parametrize(
    ("options", "missing", "field"),
    [
        ({"thinking": {"budget": 3}}, "thinking_budget", "thinking"),
        ({"thinking": True}, "thinking", "thinking"),
        (
            {"tools": [{"function": {"name": "f"}}], "tool_choice": "required"},
            "required_calls",
            "tool_choice",
        ),
    ],
)
async def test_a_refusal_names_a_capability_that_info_lists(options, missing, field):
    async with mlxwire.Worker(engine="mock") as worker:
        model = await worker.load("any")
        with pytest.raises(mlxwire.UnsupportedCapability) as caught:
            await model.chat("x", **options).text()
        assert caught.value.data == {"missing": [missing], "field": field}
        assert (await model.info()).capabilities[missing] is False


async def test_the_mock_trains_loads_the_result_and_answers_with_it(worker, tmp_path):
    data = tmp_path / "facts.jsonl"
    data.write_text('{"text": "one two three"}\n' * 8)
    model = await worker.load("p")
    training = model.train(data, out=tmp_path / "out", iterations=5, load_as="facts")
    losses = [step.loss async for step in training]
    result = await training.result()
    assert losses == sorted(losses, reverse=True)
    assert (result.steps, result.loaded_as) == (5, "facts")
    assert [adapter.name for adapter in await model.adapters()] == ["facts"]
    assert await model.chat("a b", adapter="facts").text()
    assert (await model.evaluate(data, adapter="facts")).rows == 8
    assert await model.unload_adapter("facts") == []
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await model.chat("a b", adapter="facts").text()
    assert caught.value.field == "adapter"


async def test_a_pool_of_several_workers_refuses_adapters_by_name(tmp_path):
    async with mlxwire.Pool(engine="mock") as pool:
        several = await pool.load("p", workers=2)
        with pytest.raises(mlxwire.UnsupportedCapability, match="one worker"):
            await several.load_adapter("facts", tmp_path)
        with pytest.raises(mlxwire.UnsupportedCapability, match="one worker"):
            await several.train("d", out="o", load_as="facts").result()
        alone = await pool.load("p", workers=1)
        assert await alone.adapters() == []
