"""Adds what a module asks for under another name than transformers writes, or derives from others.

The file stays as it is. In the copy, missing settings are added, and values are replaced only where
the module writes the same value in another form.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mlx_lm.models.base import BaseModelArgs

from .reading import names_in
from .rope import FULL, SLIDING, with_both_forms

_SYNONYMS = (
    ("block_dim", "hidden_size"),
    ("n_ctx", "n_positions"),
    ("block_norm_eps", "norm_eps"),
    ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "moe_k"),
    ("n_group", "num_expert_group"),
    ("n_shared_experts", "num_shared_experts"),
    ("norm_topk_prob", "moe_renormalize"),
    ("num_key_value_heads", "num_attention_groups"),
    ("max_position_embeddings", "model_max_length", "max_seq_len"),
    ("layer_types", "layers_block_type"),
    ("qkv_bias", "attention_bias"),
    ("bias", "mlp_bias"),
)
"""Names of one setting: transformers 5 writes one, and takes the others (its `attribute_map`)."""
_KINDS = {"linear_attention": "mamba", "full_attention": "attention"}
"""The names of transformers 5 for kinds of layers, and those of older versions and modules."""
_OF_FULL_LAYERS = {
    "head_dim": "global_head_dim",
    "num_key_value_heads": "num_global_key_value_heads",
}
"""Settings that `per_layer_config` changes for layers of full attention, and their older names."""
_PATTERNS = {"sliding_window_pattern": SLIDING, "full_attention_interval": "linear_attention"}
"""Settings that say that every n-th layer attends to the whole text, and the others' kind."""


def as_read(config: dict[str, Any], arguments_class: Any) -> dict[str, Any]:
    """Return a copy of a config with all that modules of mlx-lm read under other names.

    Raises: as `with_both_forms`.
    """
    completed = with_both_forms(config)
    _complete(completed)
    _fill(completed, inspect.signature(arguments_class).parameters)
    _rename_kinds(completed, names_in(arguments_class.__module__))
    if isinstance(text := completed.get("text_config"), dict):
        if "tie_word_embeddings" in config:
            text.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
        _complete(text)
        _fill(text, _inner_parameters(arguments_class))
    return completed


def _inner_parameters(arguments_class: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of the classes that an architecture may read `text_config` with."""
    module = sys.modules[arguments_class.__module__]
    imported = [each for each in vars(module).values() if isinstance(each, ModuleType)]
    found: dict[str, inspect.Parameter] = {}
    for each in (module, *(m for m in imported if m.__name__.startswith("mlx_lm.models."))):
        for value in vars(each).values():
            if inspect.isclass(value) and issubclass(value, BaseModelArgs):
                found |= inspect.signature(value).parameters
    return found


def _fill(config: dict[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Add what a class requires and the config has under another name, or leaves to be derived."""
    needed = {n for n, p in parameters.items() if p.default is p.empty} - config.keys()
    for names in _SYNONYMS:
        read = [name for name in names if name in parameters]
        written = [name for name in names if name in config]
        if read and written and not set(read) & set(written):
            config.update(dict.fromkeys(read, config[written[0]]))
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and "str" in str(
        getattr(parameters.get("sliding_window_pattern"), "annotation", "")
    ):
        slides = pattern > 1 and config.get("sliding_window") is not None
        config["sliding_window_pattern"] = "L" * (pattern - 1) + "G" if slides else None
    if "head_dim" in needed and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        config["head_dim"] = width // heads


def _rename_kinds(config: dict[str, Any], names: frozenset[str]) -> None:
    """Give kinds of layers the names that stand in a module's source, if it knows others only."""
    for setting in ("layer_types", "layers_block_type"):
        kinds = config.get(setting)
        if isinstance(kinds, list):
            config[setting] = [_kind(kind, names) for kind in kinds]


def _kind(kind: Any, names: frozenset[str]) -> Any:
    older = _KINDS.get(kind) if isinstance(kind, str) else None
    return older if older in names and kind not in names else kind


def _complete(config: dict[str, Any]) -> None:
    kinds = config.get("layer_types")
    for name, kind in _PATTERNS.items():
        if isinstance(kinds, list) and (interval := _interval(kinds, kind)):
            config.setdefault(name, interval)
    changed = config.get("per_layer_config")
    if isinstance(kinds, list) and isinstance(changed, dict) and FULL in kinds:
        first = changed.get(str(kinds.index(FULL)))
        for name, older in _OF_FULL_LAYERS.items():
            if isinstance(first, dict) and name in first:
                config.setdefault(older, first[name])


def _interval(kinds: list[Any], other: str) -> int:
    """Return n if each n-th layer is of full attention and the others of one kind, else 0."""
    if FULL not in kinds or other not in kinds:
        return 0
    interval = kinds.index(FULL) + 1
    expected = [FULL if n % interval == 0 else other for n in range(1, len(kinds) + 1)]
    return interval if kinds == expected else 0
