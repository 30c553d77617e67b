"""Finds the ids that end a text, in all the places where a folder may declare them."""

from __future__ import annotations

import sys
from typing import Any

from mlx_lm import utils as mlx_lm_utils

from .model_files import text_settings


def end_ids(
    config: dict[str, Any], generation: dict[str, Any], own: int | None, vocabulary: int
) -> frozenset[int]:
    """Return the end-of-text ids of a model, together with its tokenizer's ``own``.

    The ids of generation_config.json come before those of config.json, those before the ones in
    its ``text_config``, and the last are mlx-lm's defaults for the architecture. What is no
    integer, or beyond the vocabulary, is left out: no model generates it, and an id used as an
    index would write past the logits.
    """
    places = (
        generation.get("eos_token_id"),
        config.get("eos_token_id"),
        text_settings(config).get("eos_token_id"),
        _defaults(config).get("eos_token_ids"),
    )
    declared: frozenset[int] = frozenset()
    for place in places:
        listed = place if isinstance(place, list) else [place]
        declared = frozenset(
            each for each in listed if type(each) is int and 0 <= each < vocabulary
        )
        if declared:
            break
    return declared if own is None or own >= vocabulary else declared | {own}


def _defaults(config: dict[str, Any]) -> dict[str, Any]:
    model_class, _ = mlx_lm_utils._get_classes(config)
    module = sys.modules[model_class.__module__]
    found: dict[str, Any] = getattr(module, "TOKENIZER_DEFAULTS", {})
    return found
