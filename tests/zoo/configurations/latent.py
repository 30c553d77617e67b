"""Configurations of models that keep a compressed latent in place of keys and values (MLA)."""

from __future__ import annotations

from typing import Any

from .sizes import like_llama

YARN: dict[str, Any] = {
    "type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

LATENT: dict[str, Any] = like_llama(
    num_key_value_heads=4,
    kv_lora_rank=16,
    q_lora_rank=24,
    qk_rope_head_dim=8,
    qk_nope_head_dim=16,
    v_head_dim=16,
    rope_theta=10000.0,
    attention_bias=False,
    tie_word_embeddings=False,
)

DEEPSEEK: dict[str, Any] = {
    **LATENT,
    "moe_intermediate_size": 48,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
}

INDEXED: dict[str, Any] = {
    **DEEPSEEK,
    "index_head_dim": 16,
    "index_n_heads": 4,
    "index_topk": 12,
}
"""Attention looks at the `index_topk` tokens that an indexer finds best."""

LONGCAT: dict[str, Any] = {
    **{
        key: value
        for key, value in LATENT.items()
        if key not in ("num_hidden_layers", "intermediate_size")
    },
    "attention_method": "MLA",
    "num_layers": 2,
    "ffn_hidden_size": 96,
    "expert_ffn_hidden_size": 48,
    "moe_topk": 2,
    "n_routed_experts": 4,
    "zero_expert_num": 2,
    "zero_expert_type": "identity",
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
    "norm_topk_prob": False,
    "router_bias": False,
    "routed_scaling_factor": 2.0,
}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "deepseek_v2": {
        **DEEPSEEK,
        "scoring_func": "softmax",
        "topk_method": "group_limited_greedy",
        "norm_topk_prob": False,
        "rope_scaling": YARN,
    },
    "deepseek_v3": {**DEEPSEEK, "rope_scaling": YARN},
    "deepseek_v32": {**INDEXED, "rope_scaling": YARN},
    "deepseek_v41": {
        **like_llama(
            num_hidden_layers=4,
            num_attention_heads=4,
            # No whole blocks of 16: mlx-lm would round them to 4 bits, and a change of the weights
            # by 1e-7, which crosses a step, would move a label's score by 0.1.
            head_dim=24,
            q_lora_rank=24,
            qk_rope_head_dim=8,
            o_groups=2,
            o_lora_rank=16,
            moe_intermediate_size=48,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            scoring_func="sqrtsoftplus",
            routed_scaling_factor=1.5,
            sliding_window=8,
            compress_ratios=[0, 4, 4, 4],
            kv_source_layer_ids=[0, 1, 1, 3],
            index_source_layer_ids=[0, 1, 1, 3],
            compress_rope_theta=160000.0,
            index_n_heads=4,
            index_head_dim=16,
            index_topk=4,
            hc_mult=2,
            hc_sinkhorn_iters=4,
            rope_theta=10000.0,
        )
    },
    "glm4_moe_lite": {
        **DEEPSEEK,
        "n_group": 1,
        "num_nextn_predict_layers": 1,
        "partial_rotary_factor": 1.0,
    },
    "glm_moe_dsa": {
        **INDEXED,
        "n_group": 1,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "indexer_rope_interleave": True,
    },
    "joyai_llm_flash": {**DEEPSEEK, "n_group": 1, "rope_scaling": None},
    "kimi_k2": {**DEEPSEEK, "n_group": 1, "rope_scaling": YARN},
    "longcat_flash": LONGCAT,
    "longcat_flash_ngram": {
        **LONGCAT,
        "ngram_vocab_size_ratio": 3,
        "emb_neighbor_num": 3,
        "emb_split_num": 2,
    },
    "minicpm3": {
        **LATENT,
        "dim_model_base": 32,
        "scale_depth": 1.4,
        "scale_emb": 3,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [1.5, 2.0, 2.5, 3.0],
            "original_max_position_embeddings": 32,
        },
    },
    "mistral4": {
        **DEEPSEEK,
        "n_group": 1,
        "head_dim": 24,
        "rope_interleave": True,
        "rope_parameters": {
            "rope_type": "yarn",
            "type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
    },
    "youtu_llm": {**LATENT, "mlp_bias": False, "tie_word_embeddings": True},
}
