"""Lengthens the rotating caches of PLaMo 3, which keep one token too few in mlx-lm.

Its sliding layers see `window_size` tokens before the current one, and the mask of a prefill
says so. The cache holds `window_size` tokens with the current one, so a decode step misses the
oldest.
"""

from __future__ import annotations

from typing import Any

from mlx_lm.models.cache import RotatingKVCache


def keep_whole_windows(model: Any, layers: list[Any]) -> None:
    """Make new caches as long as the windows of the model's layers, in place."""
    if type(model).__module__ != "mlx_lm.models.plamo3":
        return
    for layer in layers:
        if isinstance(layer, RotatingKVCache) and layer.max_size == model.config.window_size:
            layer.max_size += 1
