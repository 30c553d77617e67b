"""Refuses a model whose weights have the wrong kind of number, or that computes no numbers.

mlx-lm compares names and shapes of tensors only. A tensor of 8-bit floats is read as integers, and
weights with NaN, or of zeros from a broken download, give a model that answers with token 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.generate import generation_stream

from .model_files import failed

_LEAVES = ("weight", "bias", "scales", "biases")
"""The last parts of the names of the tensors that modules of MLX compute with."""


_KIND = {True: "floating point numbers", False: "integers or 8-bit floats"}


def classes(config: dict[str, Any]) -> tuple[Callable[[Any], Any], Any]:
    """Return a model's classes as mlx-lm does; the model refuses tensors of another kind.

    Its ``load_weights`` raises ValueError if a tensor has integers in place of floating point
    numbers, or the reverse.
    """
    model_class, args_class = mlx_lm_utils._get_classes(config)

    def build(args: Any) -> Any:
        model = model_class(args)
        load = model.load_weights

        def load_weights(weights: list[tuple[str, mx.array]], strict: bool = True) -> Any:
            del model.load_weights
            wanted = _kinds(model)
            loaded = load(weights, strict=strict)
            found = _kinds(model)
            for name, floating in wanted.items():
                if found.get(name, floating) is not floating:
                    raise ValueError(f"{name} has {_KIND[not floating]} for {_KIND[floating]}")
            return loaded

        model.load_weights = load_weights
        return model

    return build, args_class


def check_numbers(model: Any, layers: list[Any], vocabulary: int) -> None:
    """Compute a few tokens, and refuse a model that gives no numbers or the same for every token.

    ``layers`` are fresh caches, ``vocabulary`` is the number of ids. The tokens are from the middle
    of the vocabulary, since at its ends are those that no text has: their embeddings may be zeros.

    Raises: WireError ``model_load_failed``.
    """
    ids = [vocabulary // part for part in (5, 3, 2)]
    with mx.stream(generation_stream):
        logits = model(mx.array([ids]), cache=layers)[0, -1].astype(mx.float32)
        highest, lowest, total = (
            array.item() for array in (logits.max(), logits.min(), logits.sum())
        )
    if total != total or abs(highest) == float("inf"):
        raise failed(
            "damaged_weights",
            "the model computes NaN or infinity: the weights are damaged, or too large for the "
            "dtype. Download them again, or load with `compute_dtype` float32",
        )
    if highest == lowest:
        raise failed(
            "damaged_weights",
            "the model finds every token equally likely: its weights are zeros or damaged. "
            "Download them again",
        )


def _kinds(model: Any) -> dict[str, bool]:
    """Return True for each tensor of floating point numbers, by name."""
    flat: Any = tree_flatten(model.parameters())
    return {
        name: mx.issubdtype(array.dtype, mx.floating)
        for name, array in flat
        if name.rsplit(".", 1)[-1] in _LEAVES
    }
