"""From a checked folder to a model in memory, ready at full speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm import utils as mlx_lm_utils

from mlxwire_protocol.replies import ModelInfo

from ..engine import ProgressReport
from .adapters import apply_adapter
from .chat_template import find_template
from .preflight import CheckedModel, failed
from .tokenizer import Tokenizer

DEFAULT_CONTEXT = 131072
"""Tokens, for a model that declares no number of positions."""


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model, its tokenizer and template, and what `info` says of it."""

    model: Any
    tokenizer: Tokenizer
    template: str | None
    eos_ids: frozenset[int]
    info: ModelInfo


def build(checked: CheckedModel, adapter: Path | None) -> tuple[Any, dict[str, Any]]:
    """The module tree with its weights still on disk: shapes are checked, nothing is read.

    Raises: WireError ``model_load_failed``.
    """
    try:
        model, config = mlx_lm_utils.load_model(checked.path, lazy=True, strict=True)
    except MemoryError:
        raise
    except Exception as error:  # the architectures raise whatever a bad number leads to
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        detail = f"{type(error).__name__}: {'; '.join(lines[:3])[:300]}"
        raise failed(
            "weights_do_not_fit",
            f"config.json and the weights do not fit together ({detail}); copy both from the "
            "same source",
        ) from None
    if adapter is not None:
        model = apply_adapter(model, adapter)
    if checked.config.get("quantization") and not _quantized_modules(model):
        raise failed(
            "quantization",
            "config.json says that the weights are quantized, but none of the model's are; "
            "remove `quantization` from it, or download the quantized weights",
            file="config.json",
        )
    return model, config


def materialize(model: Any, report: ProgressReport) -> None:
    """Read the weights, telling bytes as they come, and evaluate every other array too.

    Arrays that are no parameters (the frequencies of scaled RoPE) stay lazy in mlx-lm and can
    then be evaluated by this thread alone (ENGINE.md §1).
    """
    parameters = _parameters(model)
    total = sum(array.nbytes for array in parameters)
    done = 0
    report("load", 0, total)
    for group in _groups(parameters, max(total // 20, 1 << 24)):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report("load", done, total)
    mx.eval([array for module in model.modules() for array in _private_arrays(module)])


def finish(
    checked: CheckedModel,
    model: Any,
    config: dict[str, Any],
    *,
    tokenizer: Tokenizer,
    context_len: int | None,
    adapter: Path | None,
    parallel_slots: int,
) -> LoadedModel:
    """Describe the model as its modules really are."""
    template = find_template(checked.path)
    quantized = _quantized_modules(model)
    widest = max(quantized, key=lambda module: module.weight.size, default=None)
    vocabulary = int(model(mx.array([[0]])).shape[-1])  # lazy: the shape alone is worked out
    text = {**config, **(config.get("text_config") or {})}
    info = ModelInfo(
        model_type=str(config["model_type"]),
        vocab_size=vocabulary,
        layers=len(getattr(model, "layers", [])),
        hidden_size=_first_number(text, "hidden_size", "n_embd", "d_model", "dim", "model_dim"),
        context_len=context_len or declared_context(config),
        quant_bits=widest.bits if widest is not None else 0,
        quant_group=widest.group_size if widest is not None else 0,
        parameters=_parameter_count(model),
        weight_bytes=sum(array.nbytes for array in _parameters(model)),
        path=str(checked.path),
        adapter_path=str(adapter) if adapter else None,
        chat_template=template is not None,
        parallel_slots=parallel_slots,
        capabilities={
            "chat": template is not None,
            "classify": True,
            "thinking": template is not None and "thinking" in template,
        },
    )
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        template=template,
        eos_ids=_eos_ids(config, tokenizer),
        info=info,
    )


def declared_context(config: dict[str, Any]) -> int:
    """How many positions the config declares, in tokens."""
    text = {**config, **(config.get("text_config") or {})}
    names = (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "max_sequence_length",
        "seq_length",
        "n_ctx",
    )
    return _first_number(text, *names) or DEFAULT_CONTEXT


def _eos_ids(config: dict[str, Any], tokenizer: Tokenizer) -> frozenset[int]:
    """config.json's ids (generation_config.json's, if it has any) and the tokenizer's own."""
    declared = config.get("eos_token_id")
    ids = set(declared if isinstance(declared, list) else [declared])
    own = tokenizer.special_tokens.get("eos_token")
    if own is not None:
        ids.add(tokenizer.token_id(own))
    return frozenset(value for value in ids if isinstance(value, int))


def _quantized_modules(model: Any) -> list[Any]:
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]


def _parameters(model: Any) -> list[mx.array]:
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def _parameter_count(model: Any) -> int:
    return int(mlx_lm_utils.get_total_parameters(model))


def _private_arrays(module: nn.Module) -> Iterator[mx.array]:
    for value in vars(module).values():
        if isinstance(value, mx.array):
            yield value
    for value in module.values():
        if isinstance(value, mx.array):
            yield value


def _groups(arrays: list[mx.array], size: int) -> Iterator[list[mx.array]]:
    group: list[mx.array] = []
    held = 0
    for array in arrays:
        group.append(array)
        held += array.nbytes
        if held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group


def _first_number(config: dict[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if type(value) is int and value > 0:
            return value
    return 0
