"""Finds the longest text that a model answers rightly whose module does not use a window.

Attention over the whole text and over a window of it are equal until the text is longer than the
window, so the context is limited to that length, and the model is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlx_lm.models.cache import CacheList

from ..context_length import first_number
from .fields import Settings
from .rope import SLIDING


def unused_lengths(settings: Settings, caches: list[Any]) -> Iterator[tuple[str, int]]:
    """Yield the settings, and their lengths in tokens, past which the module would be wrong."""
    text = settings.text
    if (window := _window(text)) and not _slides(settings, caches):
        yield "sliding_window", window
    if not settings.uses("attention_chunk_size") and (
        size := first_number(text, "attention_chunk_size")
    ):
        yield "attention_chunk_size", size
    tuned = bool(text.get("attn_temperature_tuning")) and not settings.uses("floor_scale")
    if tuned and (size := first_number(text, "floor_scale")):
        yield "floor_scale", size
    rope = text.get("rope_parameters")
    if isinstance(rope, dict) and rope.get("llama_4_scaling_beta"):
        original = first_number(rope, "original_max_position_embeddings")
        if original and not settings.uses("llama_4_scaling_beta"):
            yield "llama_4_scaling_beta", original


def _window(text: dict[str, Any]) -> int:
    """Return the window of the layers that slide, 0 if none does."""
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        return first_number(text, "sliding_window") if SLIDING in kinds else 0
    first = text.get(
        "max_window_layers"
    )  # the first layer that slides, in the families of Qwen
    layers = text.get("num_hidden_layers")
    if isinstance(first, int) and isinstance(layers, int) and first >= layers:
        return 0
    switched = first is not None or str(text.get("model_type")).startswith("qwen")
    if text.get("use_sliding_window", not switched) is False:
        return 0
    return first_number(text, "sliding_window")


def _slides(settings: Settings, caches: list[Any]) -> bool:
    """Return True if the layers that should slide have caches that do, or masks that do.

    A module has such masks if it reads the window and has no rotating caches, or gives the window
    to a mask and got none of its caches, as within a vision model that does not hand them on.
    """
    used = settings.used.identifiers
    rotating = [_rotates(cache) for cache in caches]
    kinds = settings.text.get("layer_types")
    handed_on = "window_size" in used and isinstance(kinds, list) and not any(rotating)
    in_masks = "RotatingKVCache" not in used or handed_on
    if settings.uses("sliding_window") and in_masks:
        return True
    if not isinstance(kinds, list) or len(kinds) != len(rotating):
        return any(rotating)
    return all(slides for slides, kind in zip(rotating, kinds, strict=True) if kind == SLIDING)


def _rotates(cache: Any) -> bool:
    parts = cache.caches if isinstance(cache, CacheList) else (cache,)
    return any(hasattr(part, "max_size") for part in parts)
