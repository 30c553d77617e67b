"""Finds the ids that end a text, in all the places where a folder may declare them."""

from __future__ import annotations

import sys
from typing import Any

from mlx_lm import utils as mlx_lm_utils

from .model_files import failed, quoted


def end_ids(
    config: dict[str, Any], generation: dict[str, Any], own: int | None, vocabulary: int
) -> frozenset[int]:
    """Return the end-of-text ids of a model, together with its tokenizer's ``own``.

    The ids of generation_config.json come before those of config.json, those before the ones in
    its ``text_config``, and the last are mlx-lm's defaults for the architecture. Ids beyond the
    vocabulary are left out: no model generates them, and used as an index they would write past
    the logits.

    Raises: WireError ``model_load_failed`` for an id that is not an integer.
    """
    text = config.get("text_config")
    places = (
        ("generation_config.json", generation.get("eos_token_id")),
        ("config.json", config.get("eos_token_id")),
        ("config.json", text.get("eos_token_id") if isinstance(text, dict) else None),
        ("mlx-lm", _defaults(config).get("eos_token_ids")),
    )
    file, declared = next((place for place in places if place[1] is not None), ("", []))
    ids: list[Any] = declared if isinstance(declared, list) else [declared]
    if wrong := [each for each in ids if type(each) is not int]:
        raise failed(
            "end_of_text",
            f"`eos_token_id` in {file} has {quoted(repr(wrong[0]))}; accepted are an integer and a "
            "list of integers. Copy the file again from the model's source",
            file=file,
        )
    known: list[int] = ids if own is None else [*ids, own]
    return frozenset(each for each in known if 0 <= each < vocabulary)


def _defaults(config: dict[str, Any]) -> dict[str, Any]:
    model_class, _ = mlx_lm_utils._get_classes(config)
    module = sys.modules[model_class.__module__]
    found: dict[str, Any] = getattr(module, "TOKENIZER_DEFAULTS", {})
    return found
