"""Models of any architecture with random weights, in memory: a tree of modules without a folder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map
from mlx_lm.utils import _get_classes

from zoo.configurations import CONFIGURATIONS

IDS = mx.array([[1, 2, 3, 5, 7, 11]])


def bare_model(architecture: str, *, bits: int = 0, seed: int = 0, **config: Any) -> nn.Module:
    """Return a small model, quantized to ``bits`` in groups of 32 if that is not 0.

    ``config`` replaces entries of its configuration. The same seed gives the same weights.
    """
    settings = {"model_type": architecture, **CONFIGURATIONS[architecture], **config}
    model_class, arguments_class = _get_classes(settings)
    model: nn.Module = model_class(arguments_class.from_dict(settings))
    keys = iter(mx.random.split(mx.random.key(seed), 4096))

    def drawn(weight: mx.array) -> mx.array:
        if not mx.issubdtype(weight.dtype, mx.floating):
            return weight
        return 0.2 * mx.random.normal(weight.shape, key=next(keys)) + (weight.ndim == 1)

    model.update(tree_map(drawn, model.parameters()))
    if bits:
        nn.quantize(model, group_size=32, bits=bits)
    mx.eval(model.parameters())
    model.eval()
    return model


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return a model's modules by their paths."""
    return dict(model.named_modules())
