"""Compares config.json with the shapes of the weights, by the names and headers of tensors.

A load compares every tensor with the modules. This module reports only faults of every architecture of
mlx-lm, so that no sound model is listed as broken.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

from ..models.config.architectures import module_of, source_of
from ..models.context_length import first_number
from ..models.model_files import failed, text_settings
from .packing import Tensors
from .weights import layer_count, layers_of

_ARGUMENTS = re.compile(
    r"^class ModelArgs\b.*?(?=^(?:class|def|@)\b|^@)", re.MULTILINE | re.DOTALL
)
_REQUIRED = re.compile(r"^    (\w+): [^=\n]+$", re.MULTILINE)
_BASIC = frozenset(
    {
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
    }
)
"""Settings that no other name stands for, where a module requires them."""
_LAYERS_ELSEWHERE = frozenset({"afm7"})
"""Architectures that count layers whose weights have other names."""
_EMBEDDING = re.compile(
    r"(?:(?:model|language_model|transformer)\.){0,3}(?:embed_tokens|wte|tok_embeddings)\.weight"
)
"""The embedding of the text model, and none of a layer for further tokens."""


def check_proportions(config: dict[str, Any], tensors: Tensors) -> None:
    """Refuse a config that lacks a basic setting, or that describes another model than the weights.

    Raises: WireError ``model_load_failed``.
    """
    text = {**config, **text_settings(config)}
    module = module_of(config)
    lacks = sorted(_required(module) - text.keys()) if module is not None else []
    if lacks:
        raise failed(
            "incomplete_config",
            f"config.json lacks settings that mlx-lm needs for {config['model_type']!r} "
            f"({', '.join(lacks)}); copy it again from the model's source",
            file="config.json",
        )
    layers, found = layer_count(config), layers_of(tensors)
    if found and layers > found and config["model_type"] not in _LAYERS_ELSEWHERE:
        raise _unfitting(f"config.json has {layers} layers, the weights have {found}")
    wanted = first_number(text, "vocab_size", "n_vocab")
    for name, tensor in tensors.items():
        if wanted and len(tensor.shape) == 2 and _EMBEDDING.fullmatch(name):
            _check_embedding(name, tensor.shape, wanted, text, packed=_packed(name, tensors))


def _check_embedding(
    name: str, shape: tuple[int, ...], wanted: int, text: dict[str, Any], *, packed: bool
) -> None:
    rows, columns = shape
    if rows != wanted:
        raise _unfitting(f"`vocab_size` is {wanted}, but {name} has {rows} rows")
    width = first_number(text, "hidden_size")
    if width and not packed and columns != width:
        raise _unfitting(f"`hidden_size` is {width}, but {name} has {columns} columns")


def _packed(name: str, tensors: Tensors) -> bool:
    return f"{name.removesuffix('weight')}scales" in tensors


def _unfitting(detail: str) -> WireError:
    return failed(
        "weights_do_not_fit",
        f"config.json and the weights do not fit together ({detail}); copy both from the same "
        "source",
    )


@cache
def _required(module: Path) -> frozenset[str]:
    """Return the basic settings that an architecture's module requires, by its source."""
    arguments = _ARGUMENTS.search(source_of(module))
    return _BASIC & set(_REQUIRED.findall(arguments[0])) if arguments else frozenset()
