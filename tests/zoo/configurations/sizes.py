"""Sizes that all configurations share: small, and long enough for the judge's prompts."""

from __future__ import annotations

from typing import Any

VOCABULARY = 644
"""Tokens of the zoo's tokenizer, `zoo.tokenizer`."""

WINDOW = 8
"""Tokens that a sliding layer keeps; most of the judge's prompts are longer."""

CONTEXT = 512

LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
}
"""The fields that most families share, under the names that Llama gave them."""


def like_llama(**fields: Any) -> dict[str, Any]:
    """Return Llama's fields with those of another family."""
    return {**LLAMA, **fields}


def layer_kinds(short: str) -> list[str]:
    """Return `layer_types` from one letter a layer: f is full attention, s is sliding."""
    names = {
        "f": "full_attention",
        "s": "sliding_attention",
        "c": "conv",
        "l": "linear_attention",
    }
    return [names[letter] for letter in short]
