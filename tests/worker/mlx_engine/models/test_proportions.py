"""A folder that asks for a million of anything is refused before one of them is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlx_lm import utils as mlx_lm_utils

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Load
from mlxwire_worker.mlx_engine import MlxEngine
from mlxwire_worker.mlx_engine.models import weight_files as weight_files_module
from mlxwire_worker.mlx_engine.models.config_counts import MOST_LAYERS, check_counts
from mlxwire_worker.mlx_engine.models.preflight import check_model
from support.model_worker import Models

MILLION = 10**6
COUNTS: list[dict[str, Any]] = [
    {"num_hidden_layers": MILLION},
    {"num_hidden_layers": 1e300},
    {"num_hidden_layers": MOST_LAYERS + 1},
    {"n_layer": MILLION},
    {"text_config": {"num_hidden_layers": MILLION}},
    {"text_config": {"deeper": [{"num_layers": MILLION}]}},
    {"num_attention_heads": MILLION},
    {"num_experts": MILLION},
    {"num_local_experts": MILLION},
    {"layer_types": ["full_attention"] * 100_000},
    {"layers_block_type": ["mamba"] * 100_000},
    {"hybrid_override_pattern": "M*" * 100_000},
    {"block_configs": [{"attention": {}}] * 2000},
]


@pytest.mark.parametrize("changes", COUNTS, ids=lambda changes: str(changes)[:40])
def test_a_count_out_of_proportion_is_refused_before_modules_are_made(
    models: Models, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    monkeypatch.setattr(mlx_lm_utils, "load_model", None)
    engine = MlxEngine()
    try:
        with pytest.raises(WireError) as raised:
            engine.load(Load(id="l", path=str(path)), lambda *_: None)
    finally:
        engine.close()

    assert raised.value.data["reason"] == "weights_do_not_fit"
    assert "in config.json is too large" in raised.value.message
    assert len(raised.value.message) < 300


def test_as_many_layers_as_tensors_are_refused_too() -> None:
    with pytest.raises(WireError):
        check_counts({"num_hidden_layers": MILLION}, tensors=9 * MILLION)
    check_counts({"num_experts": 2048, "num_hidden_layers": 128}, tensors=10_000)


def test_what_names_weights_and_sizes_may_be_large() -> None:
    ignored = [f"model.layers.{number}.mlp" for number in range(9000)]
    check_counts(
        {
            "quantization_config": {"ignored_layers": ignored, "layers": 9000},
            "compression_config": {"ignored_layers": ignored},
            "eos_token_id": list(range(5000)),
            "max_position_embeddings": 10**7,
            "vocab_size": 300_000,
            "hidden_size": 16_384,
        },
        tensors=10,
    )


def test_a_header_that_would_be_read_for_seconds_is_refused(
    models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    header = json.dumps(
        {
            f"{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]}
            for n in range(weight_files_module.MAX_HEADER_PARTS // 6)
        }
    ).encode()
    content = len(header).to_bytes(8, "little") + header
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(WireError) as raised:
        check_model(path)

    assert raised.value.data["reason"] == "damaged_shard"
    assert "too many tensors" in raised.value.message


def test_too_many_tensors_of_many_files_are_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_model(models("qwen3"))
    monkeypatch.setattr(weight_files_module, "MAX_TENSORS", 10)
    with pytest.raises(WireError) as raised:
        check_model(models("qwen3"))

    assert raised.value.data["reason"] == "damaged_shard"


def test_settings_that_would_fill_the_memory_are_refused(
    models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"x": [[]] * 3_000_000}))
    with pytest.raises(WireError) as raised:
        check_model(path)

    assert raised.value.data["reason"] == "too_large"
