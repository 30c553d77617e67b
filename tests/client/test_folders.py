"""Discover and fit with the mock: no model is loaded for them."""

from __future__ import annotations

import pytest

import mlxwire
from mlxwire import sync


@pytest.fixture(params=[None, mlxwire.RestartPolicy()], ids=["once", "restarts"])
async def worker(request):
    async with mlxwire.Worker(engine="mock", restart=request.param) as worker:
        yield worker


async def test_a_discover_tells_whole_and_broken_models(worker, tmp_path):
    (tmp_path / "small").mkdir()
    found = await worker.discover([tmp_path / "small", tmp_path / "gone"])
    whole, broken = found
    assert isinstance(whole, mlxwire.FoundModel)
    assert (whole.name, whole.path) == ("small", str(tmp_path / "small"))
    assert (whole.model_type, whole.adapters) == ("mock", [])
    assert isinstance(broken, mlxwire.BrokenModel)
    assert isinstance(broken.error, mlxwire.ModelNotFound)
    assert broken.path == str(tmp_path / "gone")


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: [str(path)]])
async def test_a_discover_takes_one_folder_or_several(worker, tmp_path, form):
    async with worker.discover(form(tmp_path)) as stream:
        assert [model.name async for model in stream] == [tmp_path.name]
    assert stream.done.finish_reason == "stop"


async def test_a_discover_refuses_what_it_can_not_do_by_name(worker):
    with pytest.raises(mlxwire.InvalidParams, match="check"):
        await worker.discover(".", check="all")
    with pytest.raises(mlxwire.InvalidParams, match="deadline_seconds"):
        await worker.discover(".", deadline_seconds=0)
    with pytest.raises(mlxwire.InvalidParams, match="timeout"):
        worker.discover(".", timeout=-1)


async def test_a_fit_predicts_for_a_folder_and_for_the_loaded_model(worker, tmp_path):
    folder = await worker.fit(tmp_path, context_len=100, parallel_slots=2)
    assert (folder.path, folder.context_len, folder.parallel_slots) == (str(tmp_path), 100, 2)
    assert folder.fits
    with pytest.raises(mlxwire.ModelNotLoaded):
        await worker.fit()
    model = await worker.load("p")
    assert (await worker.fit()).path == (await model.fit()).path
    tight = await model.fit(memory_limit=1)
    assert (tight.fits, tight.max_context_len) == (False, 0)
    with pytest.raises(mlxwire.InvalidParams, match="context_len"):
        await model.fit(context_len=0)


async def test_a_model_that_is_gone_is_not_predicted(worker):
    model = await worker.load("p")
    await model.close()
    with pytest.raises(mlxwire.ModelNotLoaded):
        await model.fit()


async def test_folders_are_asked_about_after_the_start_alone():
    worker = mlxwire.Worker(engine="mock")
    with pytest.raises(mlxwire.NotInitialized):
        worker.discover(".")
    with pytest.raises(mlxwire.NotInitialized):
        await worker.fit(".")


def test_a_blocking_program_reads_folders_and_texts(tmp_path):
    with sync.Worker(engine="mock") as worker:
        assert [model.name for model in worker.discover(tmp_path)] == [tmp_path.name]
        assert [model.index for model in worker.discover([tmp_path] * 2).results()] == [0, 1]
        assert worker.fit(tmp_path).fits
        model = worker.load("p")
        assert model.fit().fits
        assert model.render("a b").count == 5
        assert len(model.embed(["a", "b"], dimensions=4).vectors()[1]) == 4
        assert [each.tokens for each in model.embed(["a b"])] == [2]
        assert [each.logprobs[0] for each in model.score(["a b"]).results()] == [None]
        assert [each.index for each in model.rerank("b", ["a", "b"])] == [1, 0]
        assert [each.text for each in model.classify(["a", "b"]).results()] == ["a", "b"]
        stream = model.classify(["a", "b", "c"])
        first = next(stream)
        assert sorted(each.index for each in [first, *stream.results()]) == [0, 1, 2]
