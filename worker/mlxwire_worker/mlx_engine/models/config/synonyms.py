"""Adds what a module asks for under another name than transformers writes, or derives from others.

Nothing that config.json says is replaced.
"""

from __future__ import annotations

import inspect
from typing import Any

from .rope import FULL, SLIDING, with_both_forms

_SYNONYMS = {
    "block_dim": "hidden_size",
    "n_ctx": "n_positions",
    "block_norm_eps": "norm_eps",
}
_PATTERNS = {"sliding_window_pattern": SLIDING, "full_attention_interval": "linear_attention"}
"""Names for "each so manieth layer attends to the whole text", and the kind of the others."""


def as_read(config: dict[str, Any], arguments_class: Any) -> dict[str, Any]:
    """Return a copy of a config with all that modules of mlx-lm read under other names.

    Raises: as `with_both_forms`.
    """
    completed = with_both_forms(config)
    _complete(completed)
    _fill(completed, arguments_class)
    if isinstance(text := completed.get("text_config"), dict):
        if "tie_word_embeddings" in config:
            text.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
        _complete(text)
    return completed


def _fill(config: dict[str, Any], arguments_class: Any) -> None:
    """Add what a class requires and the config has under another name, or leaves to be derived."""
    parameters = inspect.signature(arguments_class).parameters
    needed = {n for n, p in parameters.items() if p.default is p.empty} - config.keys()
    for wanted, written in _SYNONYMS.items():
        if wanted in needed and written in config:
            config[wanted] = config[written]
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and "str" in str(
        getattr(parameters.get("sliding_window_pattern"), "annotation", "")
    ):
        config["sliding_window_pattern"] = "L" * (pattern - 1) + "G"
    if "head_dim" in needed and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        config["head_dim"] = width // heads


def _complete(config: dict[str, Any]) -> None:
    kinds = config.get("layer_types")
    for name, kind in _PATTERNS.items():
        if isinstance(kinds, list) and (interval := _interval(kinds, kind)):
            config.setdefault(name, interval)


def _interval(kinds: list[Any], other: str) -> int:
    """Return n if each n-th layer is of full attention and the others of one kind, else 0."""
    if FULL not in kinds or other not in kinds:
        return 0
    interval = kinds.index(FULL) + 1
    expected = [FULL if n % interval == 0 else other for n in range(1, len(kinds) + 1)]
    return interval if kinds == expected else 0
