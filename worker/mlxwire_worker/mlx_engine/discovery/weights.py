"""Sums the tensors of a model: parameters, bytes in each dtype, and the most common quantization.

A load may drop tensors that mlx-lm's module does not use. Those that architectures drop by their
names are left out here too; only a full check knows the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

from ..models.config.architectures import module_of, source_of
from ..models.context_length import first_number
from ..models.model_files import text_settings
from .packing import Packing, Tensors, packed_weights

LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_UNUSED = re.compile(
    r"(?:^|\.)(?:vision_tower|vision_model|visual|vision_encoder|image_encoder|audio_tower"
    r"|audio_encoder|multi_modal_projector|mm_projector|embed_vision|embed_audio)\."
    r"|rotary_emb\.inv_freq$|rotary_pos_emb\.inv_freq$|\.masked_bias$|(?:^|\.)mtp[._]"
    r"|self_attn\.rotary_emb\.|\.(?:attention|attn)\.bias$|attention\.rope\.freqs$"
)
"""Towers beside the text model, tables that are computed, and layers for further tokens."""
_EXPERT = re.compile(r"\.(?:switch_mlp|experts)\.")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,9})\.")
_HEAD = re.compile(r"(?:^|\.)lm_head\.\w+$")
_KEPT = re.compile(r"e_score_correction_bias|A_log|router_bias|expert_bias")
"""Tensors that some architectures keep as they are in a narrow dtype (their `cast_predicate`)."""


class Named(NamedTuple):
    """The traits that a tensor has by its name; ``layer`` is -1 outside the layers."""

    unused: bool
    head: bool
    expert: bool
    kept: bool
    layer: int


@lru_cache(1 << 16)  # the models of one architecture have the same names
def _named(name: str) -> Named:
    layer = _LAYER.search(name)
    return Named(
        unused=_UNUSED.search(name) is not None,
        head=_HEAD.search(name) is not None,
        expert=_EXPERT.search(name) is not None,
        kept=_KEPT.search(name) is not None,
        layer=int(layer[1]) if layer is not None else -1,
    )


class Weights(NamedTuple):
    """The sums over a model's tensors; ``packing`` is that of most packed numbers.

    ``dtype_bytes`` are the bytes in memory for each value of `compute_dtype`. ``narrow_experts`` is True if
    experts that are not packed have a dtype narrower than float32.
    """

    parameters: int
    dtype_bytes: dict[str, int]
    packing: Packing | None
    narrow_experts: bool


def weigh(config: dict[str, Any], tensors: Tensors) -> Weights:
    """Sum the tensors of a checked model."""
    used = _used(config, tensors)
    sizes = dict.fromkeys(("stored", *_SIZES), 0)
    parameters = 0
    forms: Counter[Packing] = Counter()
    packed: set[str] = set()
    for weight in packed_weights(config, used):
        packed.update(weight.names)
        parameters += weight.numbers
        sizes["stored"] += weight.stored_bytes
        for name, size in _SIZES.items():
            sizes[name] += size * weight.numbers if weight.expands else weight.stored_bytes
        if weight.packing is not None:
            forms[weight.packing] += weight.numbers
    keeps = _keeps_some(config)
    for tensor_name, tensor in used.items():
        if tensor_name in packed:
            continue
        parameters += tensor.numbers
        sizes["stored"] += tensor.nbytes
        for name, size in _SIZES.items():
            converts = tensor.dtype in _FLOATS and not (
                keeps and size == 2 and _named(tensor_name).kept
            )
            sizes[name] += size * tensor.numbers if converts else tensor.nbytes
    most = max(forms, key=lambda form: forms[form], default=None)
    narrow = any(
        tensor.dtype in ("BF16", "F16") and name not in packed and _named(name).expert
        for name, tensor in used.items()
    )
    return Weights(parameters, sizes, most, narrow)


def layer_count(config: dict[str, Any]) -> int:
    """Return the number of layers that a config tells; 0 if it tells none."""
    return first_number({**config, **text_settings(config)}, *LAYERS)


def layers_of(tensors: Tensors) -> int:
    """Return the number of layers that the text model has weights of, by the names."""
    traits = map(_named, tensors)
    return 1 + max((each.layer for each in traits if not each.unused), default=-1)


def _used(config: dict[str, Any], tensors: Tensors) -> Tensors:
    """Return the tensors that a load keeps, by their names."""
    text = {**config, **text_settings(config)}
    tied = text.get("tie_word_embeddings") is True
    layers = layer_count(config)

    def used(name: str) -> bool:
        traits = _named(name)
        beyond = layers and traits.layer >= layers
        return not (traits.unused or beyond or (tied and traits.head))

    return {name: tensor for name, tensor in tensors.items() if used(name)}


def _keeps_some(config: dict[str, Any]) -> bool:
    module = module_of(config)
    return module is not None and "cast_predicate" in source_of(module)
