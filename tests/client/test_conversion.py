"""`mlxwire.convert`: results and errors as types, progress, and an end in the middle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mlxwire
import mlxwire.sync
from mlxwire import ConvertProgress, InvalidParams, ModelNotFound, Progress, SpawnFailed
from support.conversion import names_in
from support.model_worker import Models


async def test_a_model_is_converted_with_its_progress(models: Models, tmp_path: Path) -> None:
    heard: list[Progress] = []

    result = await mlxwire.convert(
        models("qwen3"), tmp_path / "out", mode="mxfp4", on_progress=heard.append
    )

    assert result.path == str(tmp_path / "out")
    assert result.quantization == mlxwire.Quantization(bits=4, group_size=32, mode="mxfp4")
    assert 4 < result.bits_per_weight < 8
    assert result.perplexity_before is None
    last = heard[-1]
    assert isinstance(last, ConvertProgress)
    assert (last.stage, last.done) == ("convert", last.total)
    assert last.tensor is not None


async def test_errors_are_those_of_a_load_and_name_the_option(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await mlxwire.convert(models("qwen3"), tmp_path / "out", bits=7)
    with pytest.raises(ModelNotFound):
        await mlxwire.convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InvalidParams) as wrong:
        await mlxwire.convert(models("qwen3"), tmp_path / "\udcff", bits=4)

    assert refused.value.field == "bits"
    assert wrong.value.message
    assert names_in(tmp_path) == []


async def test_a_cancelled_conversion_leaves_nothing(models: Models, tmp_path: Path) -> None:
    begun = asyncio.Event()

    def heard(report: Progress) -> None:
        if report.stage == "perplexity before":
            begun.set()

    text = tmp_path / "text"
    text.write_text("The weather in Paris is fine today. " * 20_000)
    task = asyncio.ensure_future(
        mlxwire.convert(models("qwen3"), tmp_path / "out", text=text, on_progress=heard)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert names_in(tmp_path) == ["text"]


async def test_an_interpreter_that_is_not_there_is_spawn_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXWIRE_WORKER", f"{tmp_path / 'python'} -m mlxwire_worker")

    with pytest.raises(SpawnFailed, match="python"):
        await mlxwire.convert("source", tmp_path / "out")


def test_the_blocking_form_returns_the_same(models: Models, tmp_path: Path) -> None:
    result = mlxwire.sync.convert(models("qwen3"), tmp_path / "out", bits=8, group_size=32)

    assert result.quantization == mlxwire.Quantization(bits=8, group_size=32, mode="affine")
    with pytest.raises(InvalidParams, match="exists"):
        mlxwire.sync.convert(models("qwen3"), tmp_path / "out", bits=8)
