"""Builds a model's module tree in the dtype that it will compute in; no weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.models.cache import make_prompt_cache

from ...engine import LoadOptions
from ..cache.kv import CachePolicy, can_rotate
from ..cache.memory_guard import MemoryGuard
from ..mlx_patches.chosen_weights import reading
from . import compute_dtype
from .adapters import apply_adapter
from .model_files import failed
from .preflight import CheckedModel
from .quantization import foreign_method, unreadable
from .soundness import classes


class Assembled(NamedTuple):
    """A module tree in the dtype that it computes in, and what depends on that dtype.

    ``quant_bits`` and ``quant_group`` are those of the stored weights.
    """

    model: Any
    config: dict[str, Any]
    quant_bits: int
    quant_group: int
    policy: CachePolicy
    guard: MemoryGuard


def assemble(
    options: LoadOptions, checked: CheckedModel, adapter: Path | None, context_len: int
) -> Assembled:
    """Build the module tree in the wanted dtype, or as stored if that takes too much memory.

    No weight is read: shapes and dtypes are known. Raises: as `build`.
    """
    dtype = compute_dtype.wanted_dtype(options.compute_dtype)
    assembled = _assemble_in(dtype, options, checked, adapter, context_len)
    if dtype is not None and options.compute_dtype == "auto":
        tokens = min(context_len, compute_dtype.SEQUENCE_TOKENS)
        size = weight_bytes(assembled.model) + assembled.guard.sequence_bytes(tokens)
        if not compute_dtype.fits(size, options.memory_limit):
            assembled = _assemble_in(None, options, checked, adapter, context_len)
    return assembled


def _assemble_in(
    dtype: mx.Dtype | None,
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    context_len: int,
) -> Assembled:
    model, config = _build_module(checked, adapter)
    widest = max(quantized_modules(model), key=lambda module: module.weight.size, default=None)
    if dtype is not None:
        compute_dtype.convert(model, dtype)
    rotates = options.context_policy == "rotate" or (
        options.context_policy == "rotate_if_possible" and can_rotate(model)
    )
    policy = CachePolicy(
        model,
        window=context_len if rotates else None,
        kv_bits=options.kv_bits,
        kv_group_size=options.kv_group_size,
    )
    guard = MemoryGuard(model, policy, options.memory_limit)
    bits, group = (widest.bits, widest.group_size) if widest is not None else (0, 0)
    return Assembled(model, config, bits, group, policy, guard)


def parameters(model: Any) -> list[mx.array]:
    """Return all parameters of a model, which may be lazy."""
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def weight_bytes(model: Any) -> int:
    """Return the bytes that all parameters of a model take in memory."""
    return sum(array.nbytes for array in parameters(model))


def _build_module(checked: CheckedModel, adapter: Path | None) -> tuple[Any, dict[str, Any]]:
    """Build the module tree: shapes are checked, and no weight is read."""
    try:
        with reading(checked.shards):
            model, config = mlx_lm_utils.load_model(
                checked.path, lazy=True, strict=True, get_model_classes=classes
            )
        caches = make_prompt_cache(model)
        if any(getattr(layer, "max_size", 1) < 1 for layer in caches):
            raise ValueError("a window of no tokens")
        for ids in ([0, 0], [0]):  # lazy: shapes and types alone are worked out
            model(mx.array([ids]), cache=caches)
    except MemoryError:
        raise
    except Exception as error:  # the architectures raise whatever a bad number leads to
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        detail = f"{type(error).__name__}: {'; '.join(lines[:3])[:300]}"
        if (method := foreign_method(checked.config)) is not None:
            raise unreadable(method, detail) from None
        raise failed(
            "weights_do_not_fit",
            f"config.json and the weights do not fit together ({detail}); copy both from the "
            "same source",
        ) from None
    if adapter is not None:
        model = apply_adapter(model, adapter)
    if checked.config.get("quantization") and not quantized_modules(model):
        raise failed(
            "quantization",
            "config.json says that the weights are quantized, but no weight of the model is; "
            "remove `quantization` from config.json, or download the quantized weights",
            file="config.json",
        )
    return model, config


def quantized_modules(model: Any) -> list[Any]:
    """Return the modules of a model whose weights are quantized."""
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]
