"""Optimizers by name, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
from mlx import optimizers

from .spec import TrainOptions

_DECAYING = frozenset({"adamw", "lion", "muon"})
DEFAULT_WEIGHT_DECAY = 0.01


def weight_decay(options: TrainOptions) -> float:
    """Return the weight decay of a training."""
    if options.weight_decay is not None:
        return options.weight_decay
    return DEFAULT_WEIGHT_DECAY if options.optimizer in _DECAYING else 0.0


def make_optimizer(options: TrainOptions) -> Any:
    """Create the optimizer of a training; its learning rate is set at each step.

    Adafactor's own rates, by which it would ignore ``learning_rate``, are off.
    """
    common: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "weight_decay": weight_decay(options),
    }
    if options.optimizer == "adafactor":
        return optimizers.Adafactor(
            **common, relative_step=False, scale_parameter=False, warmup_init=False
        )
    classes: dict[str, Any] = {
        "adamw": optimizers.AdamW,
        "sgd": optimizers.SGD,
        "lion": optimizers.Lion,
        "muon": optimizers.Muon,
    }
    return classes[options.optimizer](**common)


def learning_rate(options: TrainOptions, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0, of a training of ``steps``.

    It rises in equal parts over the first ``warmup`` steps, stays or falls towards 0 over the rest,
    and is never 0.
    """
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    past = (step - options.warmup) / max(steps - options.warmup, 1)
    if options.schedule == "linear":
        return options.learning_rate * (1 - past)
    if options.schedule == "cosine":
        return options.learning_rate * 0.5 * (1 + math.cos(math.pi * past))
    return options.learning_rate


def state_of(optimizer: Any) -> dict[str, mx.array]:
    """Return an optimizer's state as one level of arrays, keyed by parameter and part."""
    arrays: dict[str, mx.array] = {}
    for name, value in optimizer.state.items():
        if isinstance(value, mx.array):
            arrays[f"{name}:"] = value
        else:
            arrays |= {f"{name}:{part}": array for part, array in value.items()}
    return arrays


def state_bytes(options: TrainOptions, weights: dict[str, mx.array]) -> int:
    """Return the bytes that the state of an optimizer of some weights takes; nothing is computed."""
    optimizer = make_optimizer(options)
    optimizer.init(weights)
    return sum(array.nbytes for array in state_of(optimizer).values())


def restore_state(optimizer: Any, arrays: dict[str, mx.array]) -> None:
    """Give an optimizer the state that `state_of` returned of another one."""
    state: dict[str, Any] = {}
    for key, array in arrays.items():
        name, _, part = key.rpartition(":")
        if part:
            state.setdefault(name, {})[part] = array
        else:
            state[name] = array
    optimizer.state = state
    optimizer._initialized = True
