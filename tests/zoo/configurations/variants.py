"""Configurations that share a model type with another one and take another way through its module."""

from __future__ import annotations

from typing import Any

from . import dense, latent, mixtures, recurrent, windows
from .sizes import WINDOW, layer_kinds
from .wrapped import inside

_FOUR_BITS: dict[str, Any] = {"quantization": {"group_size": 32, "bits": 4}}

_GREEDY: dict[str, Any] = {"q_lora_rank": None, "topk_method": "greedy"}

_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama with biases and one key head": (
        "llama",
        {
            **dense.CONFIGURATIONS["llama"],
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "rope_scaling": {"type": "linear", "factor": 2.0},
        },
    ),
    "llama with a key head for each query": (
        "llama",
        {**dense.CONFIGURATIONS["llama"], "num_key_value_heads": 4, "rope_scaling": None},
    ),
    "llama with a window": (
        "llama",
        {
            **dense.CONFIGURATIONS["llama"],
            "layer_types": layer_kinds("sfs"),
            "sliding_window": WINDOW,
        },
    ),
    "llama in 4 bits": ("llama", {**dense.CONFIGURATIONS["llama"], **_FOUR_BITS}),
    "gemma3_text in 4 bits": (
        "gemma3_text",
        {**windows.CONFIGURATIONS["gemma3_text"], "head_dim": 32, **_FOUR_BITS},
    ),
    "qwen3_moe in 4 bits": (
        "qwen3_moe",
        {**mixtures.CONFIGURATIONS["qwen3_moe"], "moe_intermediate_size": 64, **_FOUR_BITS},
    ),
    "mamba2 in 4 bits": ("mamba2", {**recurrent.CONFIGURATIONS["mamba2"], **_FOUR_BITS}),
    "cohere without norms of queries and keys": (
        "cohere",
        {**dense.CONFIGURATIONS["cohere"], "use_qk_norm": False},
    ),
    "glm that rotates whole heads": (
        "glm",
        {**dense.CONFIGURATIONS["glm"], "partial_rotary_factor": 1.0},
    ),
    "gpt_neox with residuals in turn": (
        "gpt_neox",
        {**dense.CONFIGURATIONS["gpt_neox"], "use_parallel_residual": False, "rotary_pct": 1.0},
    ),
    "phi3 with partial rotation": (
        "phi3",
        {
            **dense.CONFIGURATIONS["phi3"],
            "partial_rotary_factor": 0.5,
            "rope_scaling": None,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2 with a head of its own": (
        "qwen2",
        {**dense.CONFIGURATIONS["qwen2"], "tie_word_embeddings": False},
    ),
    "smollm3 with RoPE in every other layer": (
        "smollm3",
        {**dense.CONFIGURATIONS["smollm3"], "no_rope_layers": [0, 1, 0, 1]},
    ),
    "stablelm with residuals in turn": (
        "stablelm",
        {
            **dense.CONFIGURATIONS["stablelm"],
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
        },
    ),
    "bailing_moe with softmax": (
        "bailing_moe",
        {
            **mixtures.CONFIGURATIONS["bailing_moe"],
            "first_k_dense_replace": 0,
            "n_group": 1,
            "topk_group": 1,
            "score_function": "softmax",
            "moe_router_enable_expert_bias": False,
            "routed_scaling_factor": 1.0,
            "use_qk_norm": False,
            "partial_rotary_factor": 1.0,
        },
    ),
    "glm4_moe without norms of queries and keys": (
        "glm4_moe",
        {**mixtures.CONFIGURATIONS["glm4_moe"], "use_qk_norm": False, "n_group": 1},
    ),
    "qwen3_moe with experts in every other layer": (
        "qwen3_moe",
        {
            **mixtures.CONFIGURATIONS["qwen3_moe"],
            "mlp_only_layers": [],
            "decoder_sparse_step": 2,
            "norm_topk_prob": False,
            "tie_word_embeddings": True,
        },
    ),
    "deepseek_v2 without q_lora": (
        "deepseek_v2",
        {**latent.CONFIGURATIONS["deepseek_v2"], **_GREEDY, "n_group": 1, "topk_group": 1},
    ),
    "deepseek_v3 without q_lora": (
        "deepseek_v3",
        {
            **latent.CONFIGURATIONS["deepseek_v3"],
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 0,
            "rope_scaling": None,
        },
    ),
    "exaone4 without windows": (
        "exaone4",
        {
            **windows.CONFIGURATIONS["exaone4"],
            "sliding_window": None,
            "sliding_window_pattern": None,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3_text with two windows of three layers": (
        "gemma3_text",
        {
            **windows.CONFIGURATIONS["gemma3_text"],
            "sliding_window_pattern": 3,
            "num_key_value_heads": 1,
            "rope_scaling": None,
        },
    ),
    "gemma4_text with experts": (
        "gemma4_text",
        {
            **windows.CONFIGURATIONS["gemma4_text"],
            "num_kv_shared_layers": 0,
            "hidden_size_per_layer_input": 0,
            "use_double_wide_mlp": False,
            "attention_k_eq_v": True,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 48,
        },
    ),
    "falcon_h1 without a norm": (
        "falcon_h1",
        {
            **recurrent.CONFIGURATIONS["falcon_h1"],
            "mamba_rms_norm": False,
            "mamba_n_groups": 2,
            "tie_word_embeddings": True,
        },
    ),
    "granitemoehybrid without experts or mamba": (
        "granitemoehybrid",
        {
            **recurrent.CONFIGURATIONS["granitemoehybrid"],
            "layer_types": ["attention"] * 4,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 96,
            "position_embedding_type": "rope",
        },
    ),
    "jamba without experts": (
        "jamba",
        {**recurrent.CONFIGURATIONS["jamba"], "num_experts": 1, "num_experts_per_tok": 1},
    ),
    "nemotron_h with attention first": (
        "nemotron_h",
        {**recurrent.CONFIGURATIONS["nemotron_h"], "hybrid_override_pattern": "*-M-M"},
    ),
    "mistral3 over mistral4": (
        "mistral3",
        inside("mistral4", latent.CONFIGURATIONS["mistral4"]),
    ),
    "mistral3 over mistral": ("mistral3", inside("mistral", dense.CONFIGURATIONS["mistral"])),
    "bailing_hybrid as bailing_moe_v3": (
        "bailing_hybrid",
        {
            "architectures": ["BailingMoeV3ForCausalLM"],
            **recurrent.CONFIGURATIONS["bailing_moe_v3"],
        },
    ),
}

VARIANTS: dict[str, dict[str, Any]] = {
    name: {"model_type": model_type, **config}
    for name, (model_type, config) in _VARIANTS.items()
}
"""By a few words for each, the first of which is the model type."""
