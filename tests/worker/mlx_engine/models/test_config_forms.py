"""A folder as transformers 5 writes it answers as the same model in the form of older versions."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes
from transformers import CONFIG_MAPPING

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models import module_tree
from mlxwire_worker.mlx_engine.models.module_tree import ModuleTree, build_tree
from mlxwire_worker.mlx_engine.models.preflight import check_model
from support.model_worker import Models

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
    "vocab_size": 300,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
OLDER: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "mistral": {"rope_theta": 77.0, "sliding_window": None},
    "qwen2": {"rope_theta": 5e6, "rope_scaling": YARN, "use_sliding_window": False},
    "qwen3": {"rope_theta": 77.0, "head_dim": 32},
    "gemma2": {"rope_theta": 77.0, "head_dim": 32, "query_pre_attn_scalar": 32},
    "gemma3_text": {
        "rope_theta": 5e6,
        "rope_local_base_freq": 77.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 8,
        "sliding_window_pattern": 2,
    },
    "phi3": {
        "rope_theta": 77.0,
        "original_max_position_embeddings": 16,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0] * 8,
            "long_factor": [1.5 + n for n in range(8)],
        },
        "pad_token_id": 0,
    },
    "stablelm": {
        "use_qkv_bias": False,
        "rope_theta": 77.0,
        "partial_rotary_factor": 0.5,
        "layer_norm_eps": 1e-5,
    },
    "glm4": {
        "attention_bias": False,
        "rope_theta": 77.0,
        "partial_rotary_factor": 0.5,
        "head_dim": 32,
    },
    "gpt_neox": {"rotary_emb_base": 77, "rotary_pct": 0.5, "layer_norm_eps": 1e-5},
    "cohere": {"rope_theta": 77.0, "layer_norm_eps": 1e-5, "use_qk_norm": False},
    "granite": {
        "rope_theta": 77.0,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.2,
        "logits_scaling": 2.0,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "smollm3": {"rope_theta": 77.0, "no_rope_layers": [1, 1, 0, 1], "pad_token_id": 0},
    "olmo2": {"rope_theta": 77.0, "attention_bias": False},
    "seed_oss": {"attention_bias": True, "rope_theta": 77.0, "head_dim": 32},
}
TOKENS = mx.array([[5, 17, 203, 44, 8, 91, 120, 33, 250, 2, 61, 7, 19, 140, 77, 9]])

Folder = Callable[[dict[str, Any], dict[str, Any]], Path]


@pytest.fixture
def folder(models: Models, tmp_path: Path) -> Folder:
    """Write a folder with random weights for one config, and with another config."""

    def write(made_for: dict[str, Any], told: dict[str, Any]) -> Path:
        path = tmp_path / "model"
        shutil.copytree(models("qwen3"), path, dirs_exist_ok=True)
        model = module(made_for)
        flat: Any = tree_flatten(model.parameters())
        key = mx.random.key(3)
        weights = {
            name: drawn(array, each)
            for each, (name, array) in zip(mx.random.split(key, len(flat)), flat, strict=True)
        }
        mx.save_safetensors(
            str(path / "model.safetensors"), weights, metadata={"format": "mlx"}
        )
        (path / "config.json").write_text(json.dumps(told))
        return path

    return write


def drawn(array: mx.array, key: mx.array) -> mx.array:
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    return mx.random.normal(array.shape, key=key) * 0.2


def module(config: dict[str, Any]) -> Any:
    """Build mlx-lm's module as mlx-lm does."""
    model_class, arguments_class = _get_classes(config)
    return model_class(arguments_class.from_dict(json.loads(json.dumps(config))))


def tree(path: Path) -> ModuleTree:
    return build_tree(check_model(path), lambda: None)


def difference(path: Path, config: dict[str, Any]) -> float:
    """Return how far a folder's logits are from those of mlx-lm's module of a config."""
    plain = module(config)
    weights: Any = mx.load(str(path / "model.safetensors"))
    plain.load_weights(list(weights.items()))
    plain.eval()
    return float(mx.abs(plain(TOKENS) - tree(path).model(TOKENS)).max())


@pytest.mark.parametrize("model_type", OLDER)
def test_both_forms_give_the_same_logits(folder: Folder, model_type: str) -> None:
    older = {**SIZES, "model_type": model_type, **OLDER[model_type]}
    told = {name: value for name, value in older.items() if name != "model_type"}
    written = CONFIG_MAPPING[model_type](**json.loads(json.dumps(told))).to_dict()
    newer = json.loads(json.dumps(written, default=str))
    assert "rope_parameters" in newer
    assert "rope_theta" not in newer

    assert difference(folder(older, newer), older) == 0
    assert difference(folder(older, older), older) == 0


def test_a_module_that_reads_the_newer_form_gets_it_from_the_older(folder: Folder) -> None:
    sizes = {**SIZES, "model_type": "ministral3", "head_dim": 16}
    rope = {"rope_theta": 77.0, "llama_4_scaling_beta": 0.1, **YARN}
    newer = {**sizes, "rope_parameters": rope}
    older = {**sizes, "rope_theta": 77.0, "rope_scaling": {**rope, "rope_theta": None} | rope}

    assert difference(folder(newer, older), newer) == 0


def test_an_attention_factor_is_translated_to_what_mlx_lm_computes_it_from(
    folder: Folder,
) -> None:
    config = {**SIZES, "model_type": "llama", "rope_theta": 77.0, "rope_scaling": YARN}
    told = {**config, "rope_scaling": {**YARN, "attention_factor": 1.7}}
    ropes = [m for m in tree(folder(config, told)).model.modules() if hasattr(m, "mscale")]

    assert ropes
    assert all(rope.mscale == pytest.approx(1.7) for rope in ropes)


@pytest.mark.parametrize(
    ("model_type", "changes", "field"),
    [
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"embedding_multiplier": 12.0}, "embedding_multiplier"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("qwen2", {"logit_scale": 0.25}, "logit_scale"),
        ("qwen2", {"routed_scaling_factor": 2.5}, "routed_scaling_factor"),
    ],
)
def test_a_setting_that_the_module_drops_is_refused_by_name(
    folder: Folder, model_type: str, changes: dict[str, Any], field: str
) -> None:
    config = {**SIZES, "model_type": model_type}
    with pytest.raises(WireError) as raised:
        tree(folder(config, {**config, **changes}))

    assert raised.value.code == "unsupported_model"
    assert raised.value.data == {"reason": "unused_setting", "field": field}
    assert field in raised.value.message


def test_settings_with_neutral_values_are_no_reason_to_refuse(folder: Folder) -> None:
    config = {**SIZES, "model_type": "llama", "hidden_act": "silu", "head_dim": 16}
    neutral = {"logit_scale": 1.0, "final_logit_softcapping": None, "norm_topk_prob": False}

    assert tree(folder(config, {**config, **neutral})).unused_lengths == {}


@pytest.mark.parametrize(
    ("settings", "value"),
    [("rope_theta", "10000"), ("rope_theta", math.nan), ("vocab_size", "many")],
)
def test_a_setting_that_has_to_be_a_number_is_refused_by_name(
    folder: Folder, settings: str, value: object
) -> None:
    config = {**SIZES, "model_type": "llama"}
    with pytest.raises(WireError) as raised:
        tree(folder(config, {**config, settings: value}))

    assert raised.value.data["reason"] == "invalid_config"
    assert raised.value.data["field"] == settings


@pytest.mark.parametrize(
    ("model_type", "changes", "limits"),
    [
        ("mistral", {"sliding_window": 64}, True),
        ("mixtral", {"sliding_window": 64, "num_local_experts": 2}, True),
        ("qwen3", {"sliding_window": 64, "head_dim": 16}, False),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "head_dim": 16}, True),
        (
            "qwen3",
            {
                "sliding_window": 64,
                "use_sliding_window": True,
                "max_window_layers": 99,
                "head_dim": 16,
            },
            False,
        ),
    ],
)
def test_a_window_counts_where_the_family_has_switched_it_on(
    folder: Folder, model_type: str, changes: dict[str, Any], limits: bool
) -> None:
    config = {**SIZES, "model_type": model_type, "rope_theta": 77.0, **changes}

    assert bool(tree(folder(config, config)).unused_lengths) is limits


def test_a_window_that_the_module_drops_limits_the_context(folder: Folder) -> None:
    config = {**SIZES, "model_type": "starcoder2", "norm_epsilon": 1e-5, "sliding_window": 64}

    assert tree(folder(config, config)).unused_lengths == {"sliding_window": 64}


@pytest.mark.parametrize(
    "config",
    [
        {
            "model_type": "lfm2",
            "block_dim": 64,
            "block_ff_dim": 2048,
            "block_multiple_of": 256,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": False,
            "conv_bias": False,
            "conv_L_cache": 3,
            "norm_eps": 1e-5,
            "full_attn_idxs": [1, 3],
            "rope_theta": 77.0,
        },
        {
            "model_type": "qwen2_moe",
            "shared_expert_intermediate_size": 5632,
            "moe_intermediate_size": 64,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": False,
            "rope_theta": 77.0,
        },
    ],
    ids=lambda config: config["model_type"],
)
def test_a_large_width_is_not_taken_for_a_count(folder: Folder, config: dict[str, Any]) -> None:
    config = {**SIZES, **config}

    assert difference(folder(config, config), config) == 0


@pytest.mark.skipif(mx.metal.is_available(), reason="the device has the kernel")
def test_a_model_whose_kernel_the_device_lacks_is_unsupported(folder: Folder) -> None:
    config = {**SIZES, "model_type": "bitnet", "rope_theta": 77.0, "head_dim": 16}
    with pytest.raises(WireError) as raised:
        tree(folder(config, config))

    assert raised.value.code == "unsupported_model"
    assert raised.value.data == {"reason": "no_kernel"}
    assert "another model" in raised.value.message


def test_a_base_for_each_layer_is_left_to_the_module(folder: Folder) -> None:
    config = {
        **SIZES,
        "model_type": "step3p5",
        "head_dim": 16,
        "num_attention_groups": 2,
        "sliding_window": 8,
        "layer_types": ["full_attention", *["sliding_attention"] * 2, "full_attention"],
        "rope_theta": [5e6, 77.0, 77.0, 5e6],
        "moe_layers_enum": "",
    }

    assert difference(folder(config, config), config) == 0


def test_only_tables_beside_the_weights_are_bounded(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**SIZES, "model_type": "llama", "rope_theta": 77.0, "rope_scaling": LLAMA3}
    path = folder(config, config)
    monkeypatch.setattr(module_tree, "MOST_TABLE_BYTES", 4096)
    assert tree(path)

    monkeypatch.setattr(module_tree, "MOST_TABLE_BYTES", 64)
    with pytest.raises(WireError) as raised:
        tree(path)
    assert "tables that are too long" in raised.value.message
