"""Builds a model's module tree in the dtype that it will compute in; no weight is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten

from ...engine import LoadOptions
from ..cache.memory_guard import MemoryGuard
from ..cache.policy import CachePolicy, can_rotate
from . import compute_dtype
from .adapters import apply_adapter
from .context_length import Context, choose_context
from .model_files import failed
from .module_tree import build_tree
from .preflight import CheckedModel


class Assembled(NamedTuple):
    """A module tree in the dtype that it computes in, and what depends on that dtype.

    ``quant_bits`` and ``quant_group`` are those of the stored weights.
    """

    model: Any
    config: dict[str, Any]
    quant_bits: int
    quant_group: int
    context: Context
    policy: CachePolicy
    guard: MemoryGuard


def assemble(
    options: LoadOptions, checked: CheckedModel, adapter: Path | None, heard: Callable[[], None]
) -> Assembled:
    """Build the module tree in the wanted dtype, or as stored if that takes too much memory.

    `auto` takes no dtype that MLX can't compute the model in.

    No weight is read: shapes and dtypes are known. ``heard`` is called during long work, and may
    raise to end it. Raises: as `build`.
    """
    dtype = compute_dtype.wanted_dtype(options.compute_dtype)
    assembled = _assemble_in(dtype, options, checked, adapter, heard)
    if options.compute_dtype != "auto":
        return assembled
    other = assembled
    if dtype is not None:
        tokens = min(assembled.context.tokens, compute_dtype.SEQUENCE_TOKENS)
        size = weight_bytes(assembled.model) + assembled.guard.sequence_bytes(tokens)
        if not compute_dtype.fits(size, options.memory_limit):
            other = _assemble_in(None, options, checked, adapter, heard)
    elif not compute_dtype.computes_as_stored(assembled.model):
        other = _assemble_in(mx.float32, options, checked, adapter, heard)
    return other if compute_dtype.computes_as_stored(other.model) else assembled


def _assemble_in(
    dtype: mx.Dtype | None,
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    heard: Callable[[], None],
) -> Assembled:
    tree = build_tree(checked, heard)
    model = _with_adapter(tree.model, checked, adapter)
    context = choose_context(options.context_len, checked.config, tree.unused_lengths)
    bits, group = _most_common_quantization(model)
    if dtype is not None:
        compute_dtype.convert(model, dtype)
    rotates = options.context_policy == "rotate" or (
        options.context_policy == "rotate_if_possible" and can_rotate(model)
    )
    policy = CachePolicy(
        model,
        window=context.tokens if rotates else None,
        kv_bits=options.kv_bits,
        kv_group_size=options.kv_group_size,
    )
    guard = MemoryGuard(model, policy, options.memory_limit)
    return Assembled(model, tree.config, bits, group, context, policy, guard)


def _most_common_quantization(model: Any) -> tuple[int, int]:
    """Return the bits and the group size of most quantized numbers; zeros if there are none."""
    numbers: Counter[tuple[int, int]] = Counter()
    for module in quantized_modules(model):
        numbers[module.bits, module.group_size] += module.weight.nbytes * 8 // module.bits
    return max(numbers, key=lambda form: numbers[form], default=(0, 0))


def parameters(model: Any) -> list[mx.array]:
    """Return all parameters of a model, which may be lazy."""
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def weight_bytes(model: Any) -> int:
    """Return the bytes that all parameters of a model take in memory."""
    return sum(array.nbytes for array in parameters(model))


def _with_adapter(model: Any, checked: CheckedModel, adapter: Path | None) -> Any:
    if adapter is not None:
        model = apply_adapter(model, adapter)
    if checked.config.get("quantization") and not quantized_modules(model):
        raise failed(
            "quantization",
            "config.json says that the weights are quantized, but no weight of the model is; "
            "remove `quantization` from config.json, or download the quantized weights",
            file="config.json",
        )
    return model


def quantized_modules(model: Any) -> list[Any]:
    """Return the modules of a model whose weights are quantized."""
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]
