"""Builds an encoder's module tree and puts a checked folder's weights into it, still on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn

from mlxwire_protocol import WireError

from ...engine import Cancelled
from ..models.build_failures import detail_of, explained
from ..models.config.work import BoundedWork, TooMuchWork
from ..models.model_files import failed, quoted
from ..models.preflight import CheckedModel
from ..models.quantization import foreign_method, unreadable
from ..models.soundness import refuse_other_kinds
from .bert import Encoder
from .families import EncoderShape, is_unused, module_names

_OLDER_ENDS = {"gamma": "weight", "beta": "bias"}
"""The last parts of the names of a norm's tensors in the oldest checkpoints."""


class Built(NamedTuple):
    """An encoder with its weights on disk, and the quantization of the stored weights."""

    model: Encoder
    quant_bits: int
    quant_group: int
    quant_mode: str


def build_encoder(
    checked: CheckedModel, shape: EncoderShape, heard: Callable[[], None]
) -> Built:
    """Build the encoder of a checked folder, and compare it with the weights.

    ``heard`` is called during long work, and may raise to end it.
    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    config = checked.config
    if (method := foreign_method(config)) is not None:
        raise unreadable(method)
    try:
        with BoundedWork(len(checked.tensors), heard):
            model = Encoder(shape)
    except TooMuchWork as error:
        raise explained(error, "modules", config["model_type"]) from None
    weights = _named(_read(checked), shape)
    try:
        quantized = _quantize(model, weights, shape, config.get("quantization"))
        refuse_other_kinds(model)
        model.load_weights(list(weights.items()), strict=True)
        model.eval()
        model.freeze()
        _trace(model)
    except (MemoryError, WireError, Cancelled):
        raise
    except Exception as error:
        raise failed(
            "weights_do_not_fit",
            f"config.json and the weights do not fit together ({detail_of(error)}); copy both from "
            "the same source",
        ) from None
    return Built(model, *quantized)


def _trace(model: Encoder) -> None:
    """Work out the shapes of a pass, lazily: a shape that does not fit raises ValueError."""
    ids = mx.zeros((1, min(2, model.shape.positions)), dtype=mx.int32)
    *_, last = model.states(ids, None, [ids.shape[1]])
    if model.shape.labels:
        model.head(last[:, 0])


def _read(checked: CheckedModel) -> dict[str, mx.array]:
    found: dict[str, mx.array] = {}
    for shard in checked.shards:
        tensors: Any = mx.load(str(shard))
        found |= tensors
    return found


def _named(tensors: dict[str, mx.array], shape: EncoderShape) -> dict[str, mx.array]:
    """Return the tensors under the names of `bert.py`, without those of other heads.

    Raises: WireError ``model_load_failed`` for a tensor that no part of the model has.
    """
    ours = {theirs: own for own, theirs in module_names(shape)}
    named: dict[str, mx.array] = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(f"{shape.family.prefix}.")
        module, _, end = plain.rpartition(".")
        if module in ours:
            named[f"{ours[module]}.{_OLDER_ENDS.get(end, end)}"] = tensor
        elif not is_unused(plain):
            raise failed(
                "weights_do_not_fit",
                f"no part of the model that config.json describes has the tensor {quoted(name)!r}; "
                "copy config.json and the weights from the same source",
            )
    return named


def _quantize(
    model: Encoder, weights: dict[str, mx.array], shape: EncoderShape, settings: Any
) -> tuple[int, int, str]:
    """Make quantized those modules whose weights are; return bits, group size and mode."""
    if not isinstance(settings, dict):
        return 0, 0, ""
    theirs = dict(module_names(shape))

    def chosen(path: str, module: Any) -> bool | dict[str, Any]:
        if f"{path}.scales" not in weights or not hasattr(module, "to_quantized"):
            return False
        name = theirs[path]
        for each in (name, f"{shape.family.prefix}.{name}"):
            if isinstance(own := settings.get(each), dict):
                return own
        return True

    bits, group = settings["bits"], settings["group_size"]
    mode = str(settings.get("mode", "affine"))
    nn.quantize(model, group_size=group, bits=bits, mode=mode, class_predicate=chosen)
    return bits, group, mode
