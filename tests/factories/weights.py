"""Random weights whose greedy text wanders instead of repeating itself.

With the usual small initialisation a tied model answers each token with itself. Here every block
adds more to the residual stream than the embedding put there, and attention is sharp, so that
the next token depends on all before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

_LOGIT_DEVIATION = 3.0
_QUERY_KEY_GAIN = 2.0
_MUTED = 0.05


def shapes_of(parameters: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array in a tree of parameters, by its dotted name."""
    flat: dict[str, Any] = dict(tree_flatten(parameters))
    return {name: array.shape for name, array in flat.items()}


def random_weights(
    shapes: dict[str, tuple[int, ...]],
    *,
    key: mx.array,
    head: bool,
    muted: Iterable[int],
    residual_gain: float,
    dtype: mx.Dtype,
) -> dict[str, mx.array]:
    """Draw one evaluated array for each named shape, without touching the global random state.

    Args:
        shapes: parameter names, as mlx-lm flattens them, to shapes.
        key: the random key; each tensor takes a split of it, in name order.
        head: whether the logits come from `lm_head` rather than the embedding.
        muted: token ids to keep out of greedy text: their output rows are scaled down.
        residual_gain: centre of the norms after a block (Gemma), which set how much the block adds.
        dtype: of the drawn arrays.
    """
    names = sorted(shapes)
    output = "lm_head.weight" if head else "model.embed_tokens.weight"
    drawn = {}
    # On the CPU everywhere, so that a seed means the same model on a Mac's GPU.
    with mx.stream(mx.cpu):
        for name, part in zip(names, mx.random.split(key, len(names)), strict=True):
            centre, deviation = _distribution(
                name, shapes[name], head=head, residual_gain=residual_gain
            )
            values = centre + deviation * mx.random.normal(shapes[name], key=part)
            if name == output:
                rows = mx.array(sorted(muted))
                values[rows] = values[rows] * _MUTED
            drawn[name] = values.astype(dtype)
        mx.eval(drawn)
    return drawn


def _distribution(
    name: str, shape: tuple[int, ...], *, head: bool, residual_gain: float
) -> tuple[float, float]:
    """Return the mean and the standard deviation for one parameter."""
    if name.endswith("embed_tokens.weight") and head:
        return 0.0, 1.0
    if name.endswith(("lm_head.weight", "embed_tokens.weight")):
        return 0.0, _LOGIT_DEVIATION / math.sqrt(shape[-1])
    if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")):
        return residual_gain, 0.1
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return _QUERY_KEY_GAIN, 0.1
    if name.endswith("norm.weight"):
        return 1.0, 0.1
    if name.endswith(".bias"):
        return 0.0, 0.2
    gain = _QUERY_KEY_GAIN if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.5
    return 0.0, gain / math.sqrt(shape[-1])
