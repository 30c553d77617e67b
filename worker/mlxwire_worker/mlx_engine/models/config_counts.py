"""Refuses a config.json whose counts would create far too many Python objects.

mlx-lm builds one object per layer, expert and head before it compares them with the weights. A
billion layers would fill the memory and delay a cancel, and a hostile folder can have matching
weights, so the comparison alone is not enough.
"""

from __future__ import annotations

import re
from typing import Any

from mlxwire_protocol import WireError

from .model_files import failed, quoted

MOST_LAYERS = 1024
"""The largest number of layers accepted, eight times the deepest known model's.

Each layer costs 0.1 MB and 2 ms before any weight is read.
"""
_LAYERS = re.compile(r"(?:^|_)(?:layers?|blocks?|depth)(?:_|$)")
_PARTS = re.compile(r"(?:^|_)(?:experts?|heads?)(?:_|$)")
_FOR_EACH_LAYER = re.compile("layer|block|pattern")
"""Matches the names of lists and strings that have one entry per layer."""
_OF_WEIGHTS = ("quantization", "compression")
"""Beginnings of the names of objects that list weights, not modules: those may be long."""


def check_counts(config: Any, *, tensors: int, name: str = "") -> None:
    """Check the counts in a config, or in its part ``name``, against the number of ``tensors``.

    Raises: WireError ``model_load_failed``.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if not key.startswith(_OF_WEIGHTS):
                check_counts(value, tensors=tensors, name=key)
    elif isinstance(config, list | str) and _FOR_EACH_LAYER.search(name):
        if len(config) > MOST_LAYERS:
            raise _out_of_proportion(name, f"{len(config)} entries")
    elif isinstance(config, int | float):
        few = config <= MOST_LAYERS
        if not few and (_LAYERS.search(name) or (config > tensors and _PARTS.search(name))):
            raise _out_of_proportion(name, str(config)[:24])
    if isinstance(config, list):
        for entry in config:
            if isinstance(entry, dict):
                check_counts(entry, tensors=tensors, name=name)


def _out_of_proportion(name: str, told: str) -> WireError:
    return failed(
        "weights_do_not_fit",
        f"`{quoted(name)}` in config.json is too large: {told}; layers may be at most "
        f"{MOST_LAYERS}, experts and heads at most the number of tensors in the weights. Copy "
        "config.json and the weights from the same source",
        file="config.json",
    )
