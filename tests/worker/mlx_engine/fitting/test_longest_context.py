"""A load with the context length `auto` takes the longest that fits, and `fit` answers on the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from factories.encoders import build_encoder
from mlxwire_protocol import WireError
from support.direct import Direct
from support.model_worker import Models, ModelWorker


@pytest.fixture(scope="module")
def limit(models: Callable[..., Path], worker: ModelWorker) -> int:
    """Return the bytes that two sequences of 1,024 tokens need."""
    fit = worker.ask("fit", path=str(models("llama3")), context_len=1024, parallel_slots=2)
    return int(fit["total_bytes"])


def test_a_load_takes_the_longest_context_that_fits(models: Models, limit: int) -> None:
    direct = Direct(models("llama3"), context_len="auto", parallel_slots=2, memory_limit=limit)

    assert direct.info.context_len == 1024
    assert any(
        "`context_len` is 1024 in place of 4096" in told for told in direct.loaded.warnings
    )
    direct.close()


def test_a_context_that_fits_whole_is_the_models_own(models: Models) -> None:
    direct = Direct(models("llama3"), context_len="auto")

    assert direct.info.context_len == 4096
    assert not any("context_len" in told for told in direct.loaded.warnings)
    direct.close()


def test_a_rotating_context_has_a_window_of_the_length_taken(
    models: Models, limit: int
) -> None:
    direct = Direct(
        models("llama3"),
        context_len="auto",
        context_policy="rotate",
        parallel_slots=2,
        memory_limit=limit,
    )

    assert direct.info.context_len == 1024
    assert {layer.max_size for layer in direct.loaded.policy.make()} == {1024}
    direct.close()


def test_a_model_that_does_not_fit_is_refused_with_figures(models: Models) -> None:
    with pytest.raises(WireError) as caught:
        Direct(models("llama3"), context_len="auto", memory_limit=1000)

    assert caught.value.code == "out_of_memory"
    assert caught.value.data["available"] == 1000 < caught.value.data["needed"]
    assert str(caught.value.data["needed"]) in caught.value.message


def test_the_loaded_model_is_predicted_with_the_options_of_its_load(
    worker: ModelWorker, models: Models
) -> None:
    loaded = worker.load(
        str(models("qwen3")), context_len=512, kv_bits=8, kv_group_size=32, warmup=False
    )
    fit = worker.ask("fit")
    worker.ask("unload")

    assert fit["path"] == loaded["path"]
    assert (fit["context_len"], fit["kv_bits"]) == (512, 8)
    assert fit["compute_dtype"] == loaded["compute_dtype"]
    assert fit["weight_bytes"] == loaded["weight_bytes"]
    assert fit["fits"]
    assert fit["total_bytes"] <= fit["available_bytes"]


def test_a_folder_that_a_load_refuses_is_refused_with_the_same_error(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    long = {"path": str(models("llama3")), "context_len": 4097}

    for fields in ({"path": str(tmp_path)}, {"path": str(tmp_path / "none")}, long):
        assert worker.refusal("fit", **fields) == worker.refusal("load", **fields)


def test_a_prediction_comes_while_a_model_generates(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    running = worker.send("generate", prompt="x", max_tokens=4000, ignore_eos=True)
    fit = worker.ask("fit", path=str(models("llama3")), context_len=64)

    assert fit["type"] == "result"
    assert not any(message["type"] == "done" for message in worker.messages[running])
    worker.ask("cancel", target=running)


def test_an_encoder_needs_no_caches(worker: ModelWorker, tmp_path: Path) -> None:
    folder = build_encoder("bert", tmp_path)
    fit = worker.ask("fit", path=str(folder))
    loaded = worker.load(str(folder), warmup=False)
    worker.ask("unload")

    assert (fit["cache_bytes"], fit["bytes_per_token"]) == (0, 0)
    assert fit["weight_bytes"] == loaded["weight_bytes"]
    assert fit["compute_dtype"] == loaded["compute_dtype"]
    assert fit["context_len"] == loaded["context_len"] == fit["max_context_len"]


def test_the_guard_lets_as_many_in_as_were_predicted_to_fit(models: Models, limit: int) -> None:
    before = mx.get_active_memory()  # models of other tests in this process
    direct = Direct(models("llama3"), context_len="auto", parallel_slots=2, memory_limit=limit)
    direct.loaded.guard.limit += before
    full = direct.info.context_len
    prompts = [
        direct.prepare([9 + place] * (full - 100), max_tokens=100, ignore_eos=True)
        for place in range(3)
    ]

    let_in = []
    for prompt in prompts:
        let_in.append(direct.engine.has_room(prompt))
        direct.add(prompt)
        direct.decoding(prompt)
    direct.close()

    assert let_in == [True, True, False]


def test_an_encoder_that_does_not_fit_is_refused_with_figures(
    worker: ModelWorker, tmp_path: Path
) -> None:
    folder = build_encoder("bert", tmp_path)
    fit = worker.ask("fit", path=str(folder))

    def load(limit: int) -> dict[str, Any]:
        asked = {"path": str(folder), "warmup": False, "context_len": "auto"}
        return worker.ask("load", **asked, memory_limit=limit)

    refused, loaded = load(fit["total_bytes"] - 1), load(fit["total_bytes"])

    assert refused["error"]["code"] == "out_of_memory"
    assert refused["error"]["data"]["needed"] == fit["total_bytes"]
    assert loaded["context_len"] == fit["context_len"]
