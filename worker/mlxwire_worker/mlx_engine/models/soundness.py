"""Refuses a model whose weights have the wrong kind of number, or that computes no numbers.

mlx-lm compares names and shapes of tensors only. A tensor of 8-bit floats is read as integers, and
weights with NaN, or of zeros from a broken download, answer with token 0. What the few tokens at
load do not meet (one damaged embedding, an overflow) ends the request that meets it.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import generation_stream

from mlxwire_protocol import WireError

from ...prompts import AdapterUse
from .build_failures import explained, is_unserved
from .model_files import failed, unsupported

_LEAVES = ("weight", "bias", "scales", "biases")
"""The last parts of the names of the tensors that modules of MLX compute with."""


_KIND = {True: "floating point numbers", False: "integers or 8-bit floats"}


class NoNumbers(WireError):
    """The model computed NaN or infinity for a prompt: damaged weights, or an overflow.

    ``adapter`` is the name of the adapter that the prompt was computed with.
    """

    def __init__(self, adapter: str | None = None) -> None:
        if adapter is None:
            super().__init__(
                "model_load_failed",
                "the model computes NaN or infinity: the weights are damaged, or too large for the "
                "dtype. Download them again, or load with `compute_dtype` float32",
                data={"reason": "damaged_weights"},
            )
        else:
            super().__init__(
                "model_load_failed",
                f"the model computes NaN or infinity with the adapter {adapter!r}: the adapter's "
                "numbers are too large. Train it again with a lower learning rate or `scale`, or "
                "leave `adapter` out",
                data={"reason": "adapter", "field": "adapter"},
            )


def blamed(error: Exception, adapter: AdapterUse | None) -> Exception:
    """Return the error of a prompt, which names its adapter where the logits are no numbers."""
    if adapter is not None and isinstance(error, NoNumbers):
        return NoNumbers(adapter.name)
    return error


def refuse_other_kinds(model: Any) -> None:
    """Let a model's ``load_weights`` raise ValueError for tensors of the wrong kind of number.

    That is integers in place of floating point numbers, or the reverse.
    """
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


def check_logits(model: Any, layers: list[Any], vocabulary: int, model_type: str) -> None:
    """Compute a few tokens, and refuse a model that gives no numbers or the same for every token.

    ``layers`` are fresh caches, ``vocabulary`` is the number of ids. The tokens are from the middle
    of the vocabulary: unused ids stand at its ends, and their embeddings may be zeros. A kernel that
    the device lacks may be missed only here.

    Raises: WireError ``model_load_failed``, or ``unsupported_model`` for want of a kernel.
    """
    ids = [vocabulary // part for part in (5, 3, 2)]
    try:
        with mx.stream(generation_stream):
            logits = model(mx.array([ids]), cache=layers)[0, -1].astype(mx.float32)
            sound = are_numbers(logits)
            highest, lowest = logits.max().item(), logits.min().item()
    except Exception as error:
        if "only supports float32" in str(error):  # MLX's experts on a CPU
            raise unsupported(
                "compute_dtype",
                f"MLX computes the architecture {model_type!r} in float32 alone on this device; "
                "load the model with `compute_dtype` float32",
            ) from None
        if is_unserved(error):
            raise explained(error, "forward", model_type) from None
        raise
    if not sound:
        raise NoNumbers
    if highest == lowest:
        raise failed(
            "damaged_weights",
            "the model finds every token equally likely: its weights are zeros or damaged. "
            "Download them again",
        )


def are_numbers(logits: mx.array) -> bool:
    """Return False if logits have NaN, or infinity as their highest; a masked id may have -inf."""
    logits = logits.astype(mx.float32)
    highest, total = logits.max().item(), logits.sum().item()
    return total == total and abs(highest) != float("inf")


def _kinds(model: Any) -> dict[str, bool]:
    """Return True for each tensor of floating point numbers, by name."""
    flat: Any = tree_flatten(model.parameters())
    return {
        name: mx.issubdtype(array.dtype, mx.floating)
        for name, array in flat
        if name.rsplit(".", 1)[-1] in _LEAVES
    }
