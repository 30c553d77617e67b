"""Compares the copies of embeddings in a PEFT adapter's file with those of the model.

PEFT saves the embedding and the last layer beside an adapter of them, in full and although the
training did not change them. A copy that differs was resized or trained, and can't be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx import nn

from ..checking import TensorFile, sizes_of
from .names import Places

_COPY = re.compile(r"(?:base_model\.model\.)?(.+?)(?:\.base_layer)?\.weight")
_IN_A_LAYER = re.compile(r"\.\d+\.")
_ROWS = 64
"""Rows that are compared: embeddings are large, and a quantized one is expanded for it."""
_DIFFERENCE = 0.02
_DIFFERENCE_OF_QUANTIZED = 0.5
"""Norms of the difference, relative to the model's rows. Rounding to bfloat16 makes 0.002, 4 bits
make 0.1, and other models 1.4."""


class EmbeddingCopies:
    """The tensors of a file that look like copies of the model's embedding or last layer."""

    def __init__(
        self, file: TensorFile, places: Places, modules: Mapping[str, nn.Module]
    ) -> None:
        self._file = file
        self._places = places
        self._modules = modules
        self._copies: dict[str, Any] = {}

    def take(self, tensor: str) -> bool:
        """Note a tensor if it is a copy by name and shape. Raises: WireError for a resized one."""
        found = _COPY.fullmatch(tensor)
        place = (
            self._places.find(found[1]) if found and not _IN_A_LAYER.search(tensor) else None
        )
        module: Any = None if place is None else self._modules[place.path]
        sizes = sizes_of(module)
        if sizes is None or sizes.kind == "experts":
            return False
        own = sizes.inputs, sizes.outputs
        shape = self._file.shapes[tensor]
        if shape != (own if sizes.kind == "embedding" else own[::-1]):
            raise self._file.refused(
                tensor,
                f"is a whole weight of the shape {shape}, and the model's has {own}: the training "
                "resized it, or the adapter is of another model. Train without new tokens, or merge "
                "the adapter into its model with PEFT (`merge_and_unload`) and load that model",
            )
        self._copies[tensor] = module
        return True

    def compare(self, arrays: Mapping[str, mx.array]) -> None:
        """Compare the copies with the model. Raises: WireError for the first that differs."""
        for tensor, module in self._copies.items():
            chosen = slice(None, None, max(module.weight.shape[0] // _ROWS, 1))
            own = _rows(module, chosen)
            copy = arrays[tensor][chosen].astype(mx.float32)
            off = mx.linalg.norm(copy - own) / mx.maximum(mx.linalg.norm(own), 1e-12)
            most = _DIFFERENCE_OF_QUANTIZED if "scales" in module else _DIFFERENCE
            if (off > most).item():
                raise self._file.refused(
                    tensor,
                    "is a whole weight that differs from the model's: it was trained, or the "
                    "adapter is of another model. Merge it into its model with PEFT "
                    "(`merge_and_unload`) and load that model",
                )


def _rows(module: Any, chosen: slice) -> mx.array:
    """Return rows of a module's weight as float32, expanded where it is quantized."""
    if "scales" not in module:
        weight: mx.array = module.weight[chosen]
        return weight.astype(mx.float32)
    biases = module.get("biases")
    return mx.dequantize(
        module.weight[chosen],
        module.scales[chosen],
        None if biases is None else biases[chosen],
        group_size=module.group_size,
        bits=module.bits,
        mode=module.mode,
    ).astype(mx.float32)
