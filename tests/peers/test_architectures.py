"""Adapters of models that transformers wrote, one of each architecture: read, or refused by name."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxwire_protocol import WireError
from support.direct import Direct
from zoo.builder import build

from .comparing import assert_like_peft
from .conftest import Peft

Made = Callable[[str], Path]
DENSE = (
    *("apertus", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text"),
    *(
        "gemma4_text",
        "gpt_bigcode",
        "gpt_neox",
        "gptj",
        "granite",
        "helium",
        "hunyuan_v1_dense",
    ),
    *("lfm2", "llama", "llama with biases and one key head", "mistral", "nemotron", "olmo2"),
    *(
        "olmo3",
        "phi",
        "phi3 with partial rotation",
        "qwen2",
        "qwen3",
        "recurrent_gemma",
        "seed_oss",
        "smollm3",
    ),
    *("stablelm", "starcoder2"),
)
EXPERTS = (
    *("deepseek_v2", "deepseek_v3", "dots1", "glm4_moe", "minimax_m2"),
    *("mixtral", "olmoe", "qwen3_moe", "qwen3_next"),
)
"""Architectures whose experts are parameters in transformers 5, which PEFT adapts as such."""


@pytest.fixture(scope="module")
def made(peft: Peft, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function from an animal's name to a model that transformers wrote, made once."""

    @functools.cache
    def make(name: str) -> Path:
        animal = build(name, tmp_path_factory.mktemp("animal"))
        model = tmp_path_factory.mktemp("model")
        config: dict[str, Any] = json.loads((animal / "config.json").read_text())
        peft.make({"pad_token_id": None} | config, model)
        for file in animal.glob("tokenizer*"):
            shutil.copy(file, model)
        return model

    return make


def compare(peft: Peft, model: Path, targets: str | list[str], *, dora: bool = False) -> None:
    config = {"r": 2, "lora_alpha": 4, "target_modules": targets, "use_dora": dora}
    folder = peft.save(model, config)
    direct = Direct(model, compute_dtype="float32")
    try:
        assert_like_peft(peft, direct, folder)
    finally:
        direct.close()


@pytest.mark.parametrize("method", ["LoRA", "DoRA"])
@pytest.mark.parametrize("name", DENSE)
def test_an_adapter_of_all_linear_layers_computes_what_it_does_in_peft(
    peft: Peft, made: Made, name: str, method: str
) -> None:
    compare(peft, made(name), "all-linear", dora=method == "DoRA")


@pytest.mark.parametrize("name", EXPERTS)
def test_beside_experts_an_adapter_of_attention_computes_what_it_does_in_peft(
    peft: Peft, made: Made, name: str
) -> None:
    compare(peft, made(name), ["o_proj"])


@pytest.mark.parametrize("name", EXPERTS)
def test_an_adapter_of_experts_as_parameters_is_refused_by_name(
    peft: Peft, made: Made, name: str
) -> None:
    model = made(name)
    config = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear"}
    folder = peft.save(model, config)
    direct = Direct(model)
    try:
        with pytest.raises(WireError, match="target_parameters"):
            direct.engine.load_adapter("theirs", str(folder))
    finally:
        direct.close()
