"""The recipe `dynamic`: more bits for the layers whose rounding changes the answers most.

mlx-lm's `dynamic_quant` measures that by gradients; here on the text of the task, since mlx-lm
would download one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_lm.quant.dynamic_quant import estimate_sensitivities, estimate_threshold

from mlxwire_protocol import invalid_params

from ..mlx_engine.models.preflight import CheckedModel
from .forms import Choice, Form, Predicate, can_be_quantized, unfit
from .perplexity import encode, open_model
from .task import DYNAMIC, Task, Text, too_short

_SEQUENCE = 512
"""Tokens that are read together, as in mlx-lm."""
_BATCH = 4
_MORE = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 8}
"""The next number of bits."""


class _Counted:
    """Sequences that report how many of them were taken: mlx-lm's functions report nothing."""

    def __init__(self, ids: mx.array, report: Callable[..., None]) -> None:
        self._ids = ids
        self._report = report

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, part: slice) -> mx.array:
        self._report("sensitivities", part.start, len(self))
        return self._ids[part]


def dynamic_recipe(
    task: Task,
    form: Form,
    model: Any,
    checked: CheckedModel,
    text: Text,
    report: Callable[..., None],
) -> Predicate:
    """Return a function that gives a module ``bits``, or the next larger number if it is sensitive.

    Raises: WireError ``invalid_params`` for options or an architecture that the recipe can't handle.
    """
    high = _MORE.get(form.bits)
    if high is None:
        raise invalid_params(
            "bits",
            f"`bits` is {form.bits}, but the recipe 'dynamic' gives some layers more bits, and MLX has no more; "
            f"give at most {max(_MORE)}",
        )
    matrices = _matrices(model, form)
    target = _target(task, form, high, matrices[0].weight.dtype.size)
    ids = encode(checked.path, text)
    opened = open_model(checked)
    width = min(_SEQUENCE, opened.context.tokens)
    count = len(ids) // width
    if not count:
        raise too_short(text, len(ids), width)
    sequences = mx.array(ids[: count * width].reshape(count, width))
    group = form.group_size
    try:
        found = estimate_sensitivities(
            opened.model,
            _Counted(sequences, report),
            form.bits,
            group,
            high,
            group,
            batch_size=_BATCH,
        )
        sensitivities = dict(found)
        threshold = estimate_threshold(
            model, sensitivities, target, form.bits, group, high, group
        )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise unfit(DYNAMIC, error) from error
    report("sensitivities", count, count)

    def decide(path: str, _: Any) -> Choice:
        if sensitivities.get(path, threshold) > threshold:
            return {"group_size": group, "bits": high, "mode": form.mode}
        return True

    return decide


def _target(task: Task, form: Form, high: int, scale_bytes: int) -> float:
    """Return the bits a weight to come near to: by default those in the middle."""
    scales = 2 * 8 * scale_bytes / form.group_size  # each group has a scale and a bias
    lowest, highest = form.bits + scales, high + scales
    if task.target_bits is None:
        return (lowest + highest) / 2
    if not lowest < task.target_bits < highest:
        raise invalid_params(
            "target_bits",
            f"`target_bits` is {task.target_bits:g}; with `bits` {form.bits} and groups of {form.group_size} it "
            f"must lie between {lowest:g} and {highest:g}",
        )
    return task.target_bits


def _matrices(model: Any, form: Form) -> list[Any]:
    """Return the modules to quantize. Raises: WireError if a group does not divide the rows of one."""
    found = [module for module in model.modules() if hasattr(module, "to_quantized")]
    for module in found:
        if not can_be_quantized(module, form.group_size):
            raise invalid_params(
                "group_size",
                f"`group_size` is {form.group_size}, but the recipe 'dynamic' quantizes every matrix, and the "
                f"rows of one have length {module.weight.shape[-1]}; give another group size or recipe",
            )
    return found
