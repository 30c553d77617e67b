"""Refuses numeric settings of config.json that are no numbers of their kind, and names them.

mlx-lm hands them on unchecked, and MLX's own error names an operation and not the setting.
"""

from __future__ import annotations

import math
from typing import Any

from mlxwire_protocol import WireError

from ..model_files import failed, quoted, text_settings

_NUMBERS = (
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "sliding_window",
    "rope_theta",
    "partial_rotary_factor",
    "rms_norm_eps",
    "layer_norm_eps",
    "norm_eps",
)
"""Nearly all architectures have these settings. Some give a list, with a number for each layer."""
_COUNTS = ("hidden_size", "num_hidden_layers", "vocab_size")
"""Settings that are an integer of at least 1, where a config has them."""


def check_number_settings(config: dict[str, Any]) -> None:
    """Check the settings of a config and of its `text_config`.

    Raises: WireError ``model_load_failed`` with ``reason`` `invalid_config` and ``field``.
    """
    for prefix, settings in (("", config), ("text_config.", text_settings(config))):
        for name in _NUMBERS:
            value = settings.get(name)
            if isinstance(value, str | dict | bool) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                raise _wrong(prefix + name, value, "a finite number")
    text = text_settings(config)
    for name in _COUNTS:
        prefix, value = ("text_config.", text[name]) if name in text else ("", config.get(name))
        if value is not None and (type(value) is not int or value < 1):
            raise _wrong(prefix + name, value, "an integer of at least 1")


def _wrong(field: str, value: object, kind: str) -> WireError:
    return failed(
        "invalid_config",
        f"`{field}` in config.json is {quoted(value)[:80]}; it has to be {kind}. Copy config.json again "
        "from the model's source",
        file="config.json",
        field=field,
    )
