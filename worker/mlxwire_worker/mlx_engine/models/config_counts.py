"""What an architecture counts to when it is built from config.json, one Python object each.

A billion of layers would fill the memory, and hold up a cancel, before they are found to have
no weights; and a folder may have weights for them.
"""

from __future__ import annotations

import re
from typing import Any

from mlxwire_protocol import WireError

from .model_files import failed, quoted

MOST_LAYERS = 1024
"""Eight times as many as the deepest models have; each costs 0.1 MB and 2 ms."""
_LAYERS = re.compile(r"(?:^|_)(?:layers?|blocks?|depth)(?:_|$)")
_PARTS = re.compile(r"(?:^|_)(?:experts?|heads?)(?:_|$)")
_FOR_EACH_LAYER = re.compile("layer|block|pattern")
"""Names of lists, or texts, with an entry for each layer."""
_OF_WEIGHTS = ("quantization", "compression")
"""Objects that name weights, not modules: their lists may be long."""


def check_counts(config: Any, *, tensors: int, name: str = "") -> None:
    """Refuse numbers and lists that are out of all proportion to the weights' ``tensors``.

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
        f"config.json says `{quoted(name)}`: {told}, and the weights have not that many tensors, or "
        "no model has; copy both from the same source",
        file="config.json",
    )
