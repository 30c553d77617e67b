"""The published traits of each family: config, control tokens, tokenizer, chat template.

Sizes are small, and so are the two lengths that must bite within a short text: Gemma's window
and Llama's original context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from . import templates
from .tokenization import (
    Marker,
    plain,
    special,
    train_deepseek_qwen,
    train_gemma,
    train_llama3,
    train_qwen,
)


@dataclass(frozen=True)
class Family:
    """One family. Tokens stand here as text, and become ids once the tokenizer is trained."""

    config: dict[str, Any]
    markers: list[Marker]
    train: Callable[[list[Marker]], Tokenizer]
    tokenizer_config: dict[str, Any]
    chat_template: str
    config_bos: str
    config_eos: str | list[str]
    generation_eos: str | list[str]
    template_file: bool = False
    bos: str | None = None
    pad: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    vocabulary_multiple: int = 1
    head: bool = False
    residual_gain: float = 1.0
    # What seed 0 stands for: moved where a greedy step of the default model was a near tie.
    first_seed: int = 0


_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 4096,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "transformers_version": "4.51.0",
    "use_cache": True,
}

_QWEN_TOKENIZER_CONFIG: dict[str, Any] = {
    "add_prefix_space": False,
    "bos_token": None,
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|im_end|>",
    "errors": "replace",
    "model_max_length": 4096,
    "pad_token": "<|endoftext|>",
    "split_special_tokens": False,
    "tokenizer_class": "Qwen2Tokenizer",
    "unk_token": None,
}

_QWEN_SAMPLING = {"do_sample": True, "top_k": 20, "top_p": 0.95, "temperature": 0.6}

_QWEN2_CONFIG: dict[str, Any] = _SIZES | {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "max_window_layers": 3,
    "model_type": "qwen2",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 4096,
    "use_sliding_window": False,
}

GEMMA3 = Family(
    config=_SIZES
    | {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": None,
        "head_dim": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "model_type": "gemma3_text",
        "num_hidden_layers": 4,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 32,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 32,
        "sliding_window_pattern": 2,
    },
    markers=special("<pad>", "<eos>", "<bos>", "<unk>")
    + plain("<mask>", "[multimodal]", *(f"<unused{index}>" for index in range(99)))
    # The published ids, 105 and 106.
    + special("<start_of_turn>", "<end_of_turn>")
    + plain("\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"),
    train=lambda markers: train_gemma(markers, bos="<bos>"),
    tokenizer_config={
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>",
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<pad>",
        "sp_model_kwargs": None,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    },
    chat_template=templates.GEMMA3,
    template_file=True,
    bos="<bos>",
    pad="<pad>",
    config_bos="<bos>",
    config_eos=["<eos>", "<end_of_turn>"],
    generation_eos=["<eos>", "<end_of_turn>"],
    sampling={"cache_implementation": "hybrid", "do_sample": True, "top_k": 64, "top_p": 0.95},
    residual_gain=6.0,
)

QWEN2 = Family(
    config=_QWEN2_CONFIG | {"tie_word_embeddings": True},
    markers=special("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    train=train_qwen,
    tokenizer_config=_QWEN_TOKENIZER_CONFIG
    | {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    chat_template=templates.QWEN2,
    pad="<|endoftext|>",
    config_bos="<|endoftext|>",
    config_eos="<|im_end|>",
    generation_eos=["<|im_end|>", "<|endoftext|>"],
    sampling=_QWEN_SAMPLING | {"repetition_penalty": 1.1},
    vocabulary_multiple=64,
)

QWEN3 = Family(
    config=_SIZES
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_window_layers": 3,
        "model_type": "qwen3",
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    markers=special("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    + plain("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
    + plain("<think>", "</think>"),
    train=train_qwen,
    tokenizer_config=_QWEN_TOKENIZER_CONFIG
    | {"add_bos_token": False, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    chat_template=templates.QWEN3,
    pad="<|endoftext|>",
    config_bos="<|endoftext|>",
    config_eos="<|im_end|>",
    generation_eos=["<|im_end|>", "<|endoftext|>"],
    sampling=_QWEN_SAMPLING,
    vocabulary_multiple=64,
)

LLAMA3 = Family(
    config=_SIZES
    | {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "hidden_act": "silu",
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 64,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    },
    markers=special("<|begin_of_text|>", "<|end_of_text|>")
    + special("<|reserved_special_token_0|>", "<|reserved_special_token_1|>")
    + special("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>")
    + special("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
    + special("<|python_tag|>", "<|reserved_special_token_3|>"),
    train=lambda markers: train_llama3(markers, bos="<|begin_of_text|>"),
    tokenizer_config={
        "bos_token": "<|begin_of_text|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|eot_id|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 4096,
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    chat_template=templates.LLAMA3,
    bos="<|begin_of_text|>",
    config_bos="<|begin_of_text|>",
    config_eos=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    generation_eos=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    sampling={"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    head=True,
)

DEEPSEEK_R1_QWEN2 = Family(
    config=_QWEN2_CONFIG | {"tie_word_embeddings": False},
    markers=special("<｜end▁of▁sentence｜>")
    + plain("<｜User｜>", "<｜Assistant｜>")
    + special("<｜begin▁of▁sentence｜>")
    + plain("<|EOT|>", "<think>", "</think>"),
    train=lambda markers: train_deepseek_qwen(markers, bos="<｜begin▁of▁sentence｜>"),
    tokenizer_config={
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<｜begin▁of▁sentence｜>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<｜end▁of▁sentence｜>",
        "legacy": True,
        "model_max_length": 4096,
        "pad_token": "<｜end▁of▁sentence｜>",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": None,
    },
    chat_template=templates.DEEPSEEK_R1,
    bos="<｜begin▁of▁sentence｜>",
    # Published so: config.json names the end token as BOS, generation_config.json the right one.
    config_bos="<｜end▁of▁sentence｜>",
    config_eos="<｜end▁of▁sentence｜>",
    generation_eos="<｜end▁of▁sentence｜>",
    sampling={"do_sample": True, "temperature": 0.6, "top_p": 0.95},
    vocabulary_multiple=64,
    head=True,
    first_seed=1,
)

BY_NAME: dict[str, Family] = {
    "gemma3": GEMMA3,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "llama3": LLAMA3,
    "deepseek-r1-qwen2": DEEPSEEK_R1_QWEN2,
}
