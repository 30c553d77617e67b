"""Describes a model folder by its JSON files and the headers of its weights."""

from __future__ import annotations

import re
from typing import Any

from ..encoders.families import is_encoder
from ..encoders.reading import read_encoder
from ..models.context_length import declared_context, first_number, hidden_size
from ..models.model_files import is_text, quoted, text_settings
from ..models.preflight import CheckedModel
from ..models.safetensors_header import StoredTensor
from ..one_pass.embedding.settings import read_settings
from ..text.chat_template import find_templates
from .abilities import abilities
from .beside import Adapters
from .expected_dtype import Machine
from .weights import layer_count, weigh

_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_EMBEDDINGS = (
    "embed_tokens.weight",
    "embeddings.weight",
    "wte.weight",
    "tok_embeddings.weight",
    "word_embeddings.weight",
    "embedding.weight",
    "wordemb.weight",
)
_OF_MODULES = (
    *("model_type", "vocab_size", "layers", "hidden_size", "context_len", "parameters"),
    *("quant_bits", "quant_group", "quant_mode", "chat_template"),
)
_OF_OPTIONS = frozenset({"kv_bits", "context_policy"})
"""Capabilities in `info` that the options of a load decide."""
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d{1,9})\.")


def describe(checked: CheckedModel, machine: Machine, adapters: Adapters) -> dict[str, Any]:
    """Return the fields of an item for a folder that was checked.

    Raises: WireError for a chat template that no load accepts.
    """
    path = checked.path
    templates = find_templates(path)
    config = checked.config
    text = {**config, **text_settings(config)}
    encoder = read_encoder(path, config) if is_encoder(config) else None
    tensors = checked.tensors
    if encoder is not None:
        tensors = {name: tensors[name] for name in encoder.used(tensors)}
    weights = weigh(config, tensors)
    context = encoder.context if encoder is not None else declared_context(config)
    packing = weights.packing
    classes = config.get("architectures")
    architecture = classes[0] if isinstance(classes, list) and classes else classes
    layers = layer_count(config) or _counted_layers(checked)
    settings = read_settings(path, config)
    capabilities = (
        encoder.capabilities
        if encoder is not None
        else abilities(checked, templates, embeds=not settings.problem)
    )
    return {
        "model_type": config["model_type"],
        "architecture": quoted(architecture) if is_text(architecture) else None,
        "vocab_size": encoder.shape.vocabulary if encoder else _vocabulary(text, tensors),
        "layers": layers,
        "hidden_size": hidden_size(text),
        "context_len": context,
        "quant_bits": packing.bits if packing else 0,
        "quant_group": packing.group if packing else 0,
        "quant_mode": packing.mode if packing else "",
        "parameters": weights.parameters,
        "weight_bytes": weights.dtype_bytes["stored"],
        "dtype_bytes": weights.dtype_bytes,
        "compute_dtype": machine.choose(
            weights.dtype_bytes, text, context, narrow_experts=weights.narrow_experts
        ),
        "chat_template": templates is not None and encoder is None,
        "capabilities": capabilities,
        "pooling": settings.pooling,
        "adapters": adapters.of_model(path, checked.tensors),
    }


def correct(described: dict[str, Any], info: dict[str, Any]) -> None:
    """Put what the modules of a built model tell in place of what its files told."""
    described.update({name: info[name] for name in _OF_MODULES})
    described["weight_bytes"] = described["dtype_bytes"]["stored"] = info["weight_bytes"]
    told = info["capabilities"].items()
    described["capabilities"].update({n: value for n, value in told if n not in _OF_OPTIONS})


def _vocabulary(text: dict[str, Any], tensors: dict[str, StoredTensor]) -> int:
    """Return the number of logits: the rows of the head, or of the embedding that serves as one."""
    tied = text.get("tie_word_embeddings") is True
    for ends in (_EMBEDDINGS,) if tied else (_HEADS, _EMBEDDINGS):
        for name, tensor in tensors.items():
            if name.endswith(ends) and len(tensor.shape) == 2 and "vision" not in name:
                return tensor.shape[0]
    return first_number(text, "vocab_size", "n_vocab")


def _counted_layers(checked: CheckedModel) -> int:
    found = (_LAYER.search(name) for name in checked.tensors)
    return 1 + max((int(each[1]) for each in found if each), default=-1)
