"""`inspect` writes the queries and keys that a model's attention compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from support.model_worker import Models, ModelWorker
from support.reference import reference

PROMPT = "Once upon a time, there was a naïve 🚀."
FAMILIES = ("qwen3", "gemma3", "llama3")


def arrays(path: Path) -> dict[str, Any]:
    loaded = mx.load(str(path))
    assert isinstance(loaded, dict)
    assert {array.dtype for array in loaded.values()} == {mx.float32}
    return {name: np.array(array) for name, array in loaded.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_are_those_that_the_models_own_cache_holds(
    worker: ModelWorker, models: Models, tmp_path: Path, family: str
) -> None:
    truth = reference(models(family))
    ids = truth.encode(PROMPT)
    cache = truth.model.make_cache() if hasattr(truth.model, "make_cache") else None
    if cache is None:
        from mlx_lm.models.cache import make_prompt_cache

        cache = make_prompt_cache(truth.model)
    truth.model(mx.array([ids]), cache=cache)
    path = tmp_path / "attention.safetensors"

    told = worker.use(models(family)).ask("inspect", prompt=PROMPT, path=str(path))

    found = arrays(path)
    config = json.loads((models(family) / "config.json").read_text())
    assert told["path"] == str(path)
    assert (told["tokens"], told["layers"]) == (len(ids), [*range(len(cache))])
    assert (told["heads"], told["query_heads"]) == (
        config["num_key_value_heads"],
        config["num_attention_heads"],
    )
    for layer, kept in enumerate(cache):
        keys = np.array(kept.state[0][0, :, : len(ids)].astype(mx.float32))
        np.testing.assert_allclose(found[f"layers.{layer}.keys"], keys, atol=2e-4, rtol=1e-3)
        queries = found[f"layers.{layer}.queries"]
        assert queries.shape == (told["query_heads"], len(ids), told["head_dim"])
        assert np.abs(queries).max() > 0


def test_only_the_layers_that_are_named_are_written(
    loaded: ModelWorker, tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    loaded.ask("inspect", prompt=PROMPT, path=str(whole))

    told = loaded.ask("inspect", prompt=PROMPT, path=str(part), layers=[1, 1])

    assert told["layers"] == [1]
    found, all_layers = arrays(part), arrays(whole)
    assert {*found} == {"layers.1.queries", "layers.1.keys"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, all_layers[name])


def test_a_request_that_can_not_be_honoured_writes_nothing(
    loaded: ModelWorker, tmp_path: Path
) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    fresh = str(tmp_path / "new.safetensors")
    for field, code, fields in (
        ("layers[1]", "invalid_params", {"path": fresh, "layers": [0, 99]}),
        ("path", "invalid_params", {"path": str(foreign)}),
        ("path", "invalid_params", {"path": str(tmp_path)}),
        ("prompt", "context_overflow", {"path": fresh, "prompt": "a b " * 4097}),
    ):
        error = loaded.refusal("inspect", **{"prompt": PROMPT, **fields})
        assert (error["code"], error["data"]["field"]) == (code, field)
    assert [*tmp_path.iterdir()] == [foreign]
    assert foreign.read_text() == "mine"


def test_an_inspection_replaces_an_earlier_one_and_changes_no_answer(
    loaded: ModelWorker, tmp_path: Path
) -> None:
    path = str(tmp_path / "attention.safetensors")
    before = loaded.generate(PROMPT, max_tokens=8, cache=False)
    for prompt in ("one", PROMPT):
        told = loaded.ask("inspect", prompt=prompt, path=path, layers=[0])
        assert arrays(Path(path))["layers.0.keys"].shape[1] == told["tokens"]

    assert loaded.generate(PROMPT, max_tokens=8, cache=False) == before


def test_a_file_outside_the_data_root_is_refused(models: Models, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with ModelWorker("--data-root", str(root)) as worker:
        worker.load(str(models("qwen3")), warmup=False)
        error = worker.refusal("inspect", prompt="x", path=str(tmp_path / "x.safetensors"))
        assert (error["code"], error["data"]["field"]) == ("invalid_params", "path")
        assert worker.ask("inspect", prompt="x", path=str(root / "x.safetensors"))["tokens"] > 0


def test_an_inspection_can_be_cancelled(loaded: ModelWorker, tmp_path: Path) -> None:
    path = tmp_path / "attention.safetensors"
    ends = set()
    for _ in range(8):
        request = loaded.send("inspect", prompt="one two three " * 100, path=str(path))
        loaded.ask("cancel", target=request)
        ends.add(loaded.final(request)["type"])

    assert ends <= {"done", "result"}
    assert path.exists() or ends == {"done"}
