"""Configurations of models that see images, or did, and load as their language model alone."""

from __future__ import annotations

from typing import Any

from . import dense, latent, mixtures, recurrent, windows
from .sizes import VOCABULARY, WINDOW, layer_kinds, like_llama


def inside(model_type: str, text: dict[str, Any], **top: Any) -> dict[str, Any]:
    """Return a config whose language model is described in `text_config`."""
    return {"text_config": {"model_type": model_type, **text}, "vocab_size": VOCABULARY, **top}


_GEMMA3N = like_llama(
    hidden_act="gelu_pytorch_tanh",
    num_hidden_layers=6,
    head_dim=16,
    num_kv_shared_layers=2,
    vocab_size_per_layer_input=VOCABULARY,
    hidden_size_per_layer_input=16,
    sliding_window=WINDOW,
    layer_types=layer_kinds("ssfssf"),
    activation_sparsity_pattern=[0.95, 0.95, 0.0, 0.0, 0.0, 0.0],
    altup_num_inputs=4,
    altup_active_idx=0,
    altup_coef_clip=120.0,
    altup_correct_scale=True,
    laurel_rank=8,
    rope_local_base_freq=10000.0,
    rope_theta=1000000.0,
    final_logit_softcapping=30.0,
)

_KIMI_K3 = like_llama(
    num_hidden_layers=4,
    num_key_value_heads=4,
    hidden_act="situ",
    activation_situ_beta=4.0,
    activation_situ_linear_beta=25.0,
    linear_attn_config={
        "kda_layers": [1, 2, 3],
        "full_attn_layers": [4],
        "num_heads": 4,
        "head_dim": 32,
        "short_conv_kernel_size": 4,
        "gate_lower_bound": -5.0,
        "use_full_rank_gate": True,
    },
    num_experts=4,
    num_experts_per_token=2,
    num_shared_experts=1,
    moe_intermediate_size=32,
    q_lora_rank=24,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
    mla_use_nope=True,
    mla_use_output_gate=True,
    first_k_dense_replace=1,
    routed_expert_hidden_size=32,
    latent_moe_use_norm=True,
    attn_res_block_size=2,
    routed_scaling_factor=2.0,
)

_LLAMA4 = like_llama(
    num_hidden_layers=4,
    head_dim=16,
    attention_bias=False,
    attention_chunk_size=WINDOW,
    interleave_moe_layer_step=2,
    intermediate_size_mlp=96,
    num_local_experts=4,
    num_experts_per_tok=1,
    use_qk_norm=True,
    attn_temperature_tuning=True,
    floor_scale=16,
    attn_scale=0.1,
    rope_theta=500000.0,
    rope_scaling=None,
)

_MINIMAX_M3 = like_llama(
    num_hidden_layers=4,
    head_dim=16,
    intermediate_size=48,
    dense_intermediate_size=96,
    shared_intermediate_size=48,
    num_local_experts=4,
    num_experts_per_tok=2,
    moe_layer_freq=[0, 1, 1, 1],
    rotary_dim=8,
    rope_theta=5000000.0,
    routed_scaling_factor=2.0,
    use_qk_norm=True,
    use_gemma_norm=True,
    swiglu_alpha=1.702,
    swiglu_limit=7.0,
    sparse_attention_config={
        "use_sparse_attention": True,
        "sparse_attention_freq": [0, 0, 1, 1],
        "sparse_num_index_heads": 2,
        "sparse_index_dim": 16,
        "sparse_block_size": 4,
        "sparse_topk_blocks": 3,
        "sparse_local_block": 1,
    },
    tie_word_embeddings=False,
)

_MUSE_SPARK = like_llama(
    num_hidden_layers=4,
    head_dim=16,
    post_norm_eps=1e-08,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    layer_rope_theta=[10000.0, 10000.0, 10000.0, 0.0],
    layer_types=layer_kinds("sssf"),
    sliding_window=WINDOW,
    final_logit_softcapping=20.0,
    output_multiplier=0.5,
    num_local_experts=4,
    num_experts_per_tok=2,
    moe_hidden_size=32,
    moe_intermediate_size=48,
    qk_scale_factor=3.87,
    routed_scaling_factor=1.0,
)

_QWEN2_VL = like_llama(
    rope_theta=1000000.0,
    rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]},
    tie_word_embeddings=False,
)

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "gemma3": inside("gemma3_text", windows.CONFIGURATIONS["gemma3_text"]),
    "gemma3n": inside("gemma3n_text", _GEMMA3N),
    "gemma4": inside("gemma4_text", windows.CONFIGURATIONS["gemma4_text"]),
    "gemma4_unified": inside("gemma4_text", windows.CONFIGURATIONS["gemma4_text"]),
    "kimi_k25": inside("kimi_k2", latent.CONFIGURATIONS["kimi_k2"]),
    "kimi_k3": inside("kimi_linear", _KIMI_K3),
    "kimi_vl": inside("deepseek_v3", {**latent.DEEPSEEK, "n_group": 1}),
    "lfm2-vl": inside("lfm2", recurrent.CONFIGURATIONS["lfm2"]),
    "llama4": inside("llama4_text", _LLAMA4),
    "llava": inside("mistral", dense.CONFIGURATIONS["mistral"]),
    "minimax_m3_vl": inside("minimax_m3_vl_text", _MINIMAX_M3),
    "mistral3": inside("ministral3", windows.CONFIGURATIONS["ministral3"]),
    "muse_spark": inside("muse_spark_text", _MUSE_SPARK),
    "pixtral": inside("mistral", {**dense.CONFIGURATIONS["mistral"], "head_dim": 16}),
    "qwen2_5_vl": inside("qwen2_5_vl_text", _QWEN2_VL),
    "qwen2_vl": inside("qwen2_vl_text", _QWEN2_VL),
    "qwen3_vl": inside("qwen3_vl_text", dense.CONFIGURATIONS["qwen3"]),
    "qwen3_vl_moe": inside("qwen3_vl_moe_text", mixtures.CONFIGURATIONS["qwen3_moe"]),
}
