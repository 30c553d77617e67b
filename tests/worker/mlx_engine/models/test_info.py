"""`info` tells what the modules became, and `load` holds to the context that it promised."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from factories import FAMILIES, build_adapter
from mlxwire_worker.mlx_engine.models.assembly import most_common_quantization
from support.model_worker import Models, ModelWorker
from support.reference import reference
from zoo.builder import build

VARIANTS = [(family, quantized) for family in FAMILIES for quantized in (False, True)]


@pytest.mark.parametrize(("family", "quantized"), VARIANTS)
def test_info_is_the_truth_about_the_model(
    worker: ModelWorker, models: Models, family: str, quantized: bool
) -> None:
    path = models(family, quantized)
    config = json.loads((path / "config.json").read_text())
    plain = models(family)
    tensors = mx.load(str(plain / "model.safetensors"))
    assert isinstance(tensors, dict)
    held = tree_flatten(reference(path).model.parameters())

    info = worker.use(path).ask("info")

    assert info["model_type"] == config["model_type"]
    assert info["layers"] == config["num_hidden_layers"]
    assert info["hidden_size"] == config["hidden_size"]
    assert info["vocab_size"] == config["vocab_size"]
    assert info["context_len"] == config["max_position_embeddings"]
    assert (info["quant_bits"], info["quant_group"]) == ((4, 32) if quantized else (0, 0))
    assert info["quant_mode"] == ("affine" if quantized else "")
    assert info["parameters"] == sum(tensor.size for tensor in tensors.values())
    assert info["weight_bytes"] == sum(array.nbytes for _, array in held)
    assert info["path"] == str(path)
    assert info["adapter_path"] is None
    assert info["chat_template"] is True
    assert info["capabilities"]["thinking"] is (family == "qwen3")
    assert info["capabilities"]["thoughts"] is (family in {"qwen3", "deepseek-r1-qwen2"})


def test_an_adapter_adds_nothing_to_the_parameters_of_the_model(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    plain = worker.use(models("qwen3")).ask("info")
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")

    adapted = worker.use(models("qwen3"), adapter_path=str(adapter)).ask("info")

    assert adapted["adapter_path"] == str(adapter)
    assert adapted["parameters"] == plain["parameters"]


def test_load_answers_all_that_info_says(worker: ModelWorker, models: Models) -> None:
    result = worker.load(str(models("gemma3")))
    worker._loaded = ()
    info = worker.ask("info")

    assert result.pop("load_seconds") > 0
    assert result.pop("ok") is True
    assert all(type(warning) is str for warning in result.pop("warnings"))
    assert {**result, "id": 0} == {**info, "id": 0}


def test_slots_that_a_model_can_not_use_are_a_warning(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path = str(build("gemma2", tmp_path))
    alone = [
        worker.load(path, **slots)["warnings"]
        for slots in ({"parallel_slots": 4}, {"parallel_slots": 1}, {})
    ]
    together = worker.load(str(models("qwen3")), parallel_slots=4)["warnings"]
    worker._loaded = ()

    named = [["parallel_slots` is 4" in " ".join(told)] for told in (*alone, together)]
    assert named == [[True], [False], [False], [False]]


def test_load_tells_its_progress(worker: ModelWorker, models: Models) -> None:
    request = worker.send("load", path=str(models("qwen2")))
    worker.final(request)
    worker._loaded = ()

    told = [m for m in worker.messages[request] if m["type"] == "progress"]
    stages = {message["stage"] for message in told}
    assert {"load", "warmup"} <= stages
    for stage in stages:
        done = [message["done"] for message in told if message["stage"] == stage]
        total = {message["total"] for message in told if message["stage"] == stage}
        assert done == sorted(done)
        assert done[-1] == max(total)


def test_without_warmup_there_is_none(worker: ModelWorker, models: Models) -> None:
    request = worker.send("load", path=str(models("qwen2")), warmup=False)
    worker.final(request)
    worker._loaded = ()

    assert "warmup" not in {m.get("stage") for m in worker.messages[request]}
    assert len(worker.generate("Hello", max_tokens=3)[1]) == 3


def test_a_context_beyond_the_declared_one_is_refused_with_that_number(
    worker: ModelWorker, models: Models
) -> None:
    error = worker.refusal("load", path=str(models("qwen3")), context_len=4097)

    assert error["code"] == "invalid_params"
    assert (error["data"]["field"], error["data"]["context_len"]) == ("context_len", 4096)
    assert worker.load(str(models("qwen3")), context_len=4096)["context_len"] == 4096
    worker._loaded = ()


def test_a_smaller_context_is_kept_to(worker: ModelWorker, models: Models) -> None:
    path = models("qwen3")
    worker.use(path, context_len=40)
    prompt = "Hello there"
    ids = reference(path).encode(prompt)
    request = worker.send("generate", prompt=prompt, max_tokens=1000, ignore_eos=True)

    final = worker.final(request)

    assert worker.ask("info")["context_len"] == 40
    assert final["finish_reason"] == "length"
    assert final["tokens_generated"] == 40 - len(ids)


def test_a_folder_without_template_has_no_chat(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    import shutil

    path = tmp_path / "bare"
    shutil.copytree(models("qwen2"), path)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (path / "tokenizer_config.json").write_text(json.dumps(settings))

    info = worker.use(path).ask("info")
    error = worker.refusal("chat", messages=[{"role": "user", "content": "Hi"}])

    assert info["chat_template"] is False
    assert info["capabilities"]["chat"] is False
    assert error["code"] == "unsupported_capability"
    assert "generate" in error["message"]


def test_unload_gives_the_memory_back(worker: ModelWorker, models: Models) -> None:
    worker.use(models("gemma3")).generate("Hello", max_tokens=2)
    assert worker.ask("metrics")["active_memory_bytes"] > 0

    assert worker.ask("unload")["ok"] is True
    worker._loaded = ()

    assert worker.ask("metrics")["active_memory_bytes"] == 0
    assert worker.refusal("generate", prompt="Hello")["code"] == "model_not_loaded"


def test_the_quantization_is_that_of_most_numbers() -> None:
    embedding = nn.QuantizedEmbedding(256, 64, group_size=32, bits=8)
    layers = [nn.QuantizedLinear(64, 128, group_size=64, bits=4) for _ in range(3)]

    assert most_common_quantization(nn.Sequential(embedding, *layers)) == (4, 64, "affine")
    assert most_common_quantization(nn.Sequential(nn.Linear(2, 2))) == (0, 0, "")
