"""The client against the worker that ships, with its mock engine."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire


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
        async for _ in stream:
            pass
    assert stream.done.finish_reason in ("cancelled", "length")
    assert (await worker.cancel("nobody")).outcome == "unknown"


async def test_leaving_early_frees_the_worker(worker):
    model = await worker.load("p")
    async with model.generate("a b", ignore_eos=True, max_tokens=8000) as stream:
        await anext(stream)
    assert stream.done.finish_reason in ("cancelled", "length")
    metrics = await worker.metrics()
    assert metrics.in_flight == 0
    assert metrics.requests >= 2


async def test_many_streams_at_once(worker):
    model = await worker.load("p")
    texts = [f"stream {number} says this" for number in range(50)]
    streams = [model.generate(text).text() for text in texts]
    assert await asyncio.gather(*streams) == texts


async def test_an_unknown_option_is_refused_by_name(worker):
    model = await worker.load("p")
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await model.generate("p", temprature=1).text()
    assert caught.value.field == "temprature"


async def test_a_prompt_that_fills_the_context(worker):
    model = await worker.load("p", context_len=2)
    with pytest.raises(mlxwire.ContextOverflow):
        await model.generate("a b c d e f").text()


async def test_classify(worker):
    model = await worker.load("p")
    results = await model.classify(["a", "b"], labels=["x", "y"])
    assert [result.index for result in results] == [0, 1]
    assert sum(results[0].labels.values()) == pytest.approx(1)
    with pytest.raises(mlxwire.InvalidParams):
        await model.classify([])
