"""Chooses the dtype in which a model computes, and converts its weights to it at load.

On a CPU with a fast BLAS (`mlx_patches.blas`) float32 is by far the fastest: MLX's CPU kernels for
bfloat16 and for quantized weights use no BLAS and gain nothing from batching. Float32 takes more
memory, so `auto` chooses it only if weights and caches fit.
"""

from __future__ import annotations

from typing import Any, Literal

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map_with_path, tree_unflatten
from mlx_lm.models.mla import MultiLinear, QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from ...process.system_share import memory_bytes, within_share
from ..mlx_patches.blas import in_use
from .model_files import text_settings

ComputeDtype = Literal["auto", "float32", "bfloat16", "float16", "stored"]

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def wanted_dtype(option: ComputeDtype) -> mx.Dtype | None:
    """Return the dtype to convert to; None to compute with the weights as they are stored."""
    if option == "auto":
        return mx.float32 if mx.default_device() == mx.cpu and not in_use().slow else None
    return DTYPES.get(option)


def computes_as_stored(model: Any) -> bool:
    """Return False if MLX can't compute a model in the dtype of its weights.

    On a CPU, the experts' matrix product (`mx.gather_mm`, MLX 0.32.4) takes float32 alone.
    """
    return mx.default_device() != mx.cpu or all(
        module.weight.dtype == mx.float32
        for module in model.modules()
        if type(module) is SwitchLinear
    )


def fits(model_bytes: int, memory_limit: int | None, held: int) -> bool:
    """Return True if a model and its caches take at most a share of what the process may use.

    That is the least of the memory that is available or ``held`` by the model before, which goes,
    the control groups' limits, and ``memory_limit``; None and 0 mean no limit.
    """
    available = memory_bytes()
    process = None if available is None else available + held
    return within_share(model_bytes, memory_limit or None, process)


def convert(model: Any, dtype: mx.Dtype) -> None:
    """Expand the quantized modules of a model and convert its weights to a dtype, lazily, in place."""
    expand(model, dtype)
    cast(model, dtype)


def expand(model: Any, dtype: mx.Dtype) -> None:
    """Replace the quantized modules of a model by plain ones in a dtype, lazily, in place."""
    plain = [
        (name, _expanded(module, dtype))
        for name, module in model.named_modules()
        if _can_be_expanded(module)
    ]
    if plain:
        model.update_modules(tree_unflatten(plain))


def cast(model: Any, dtype: mx.Dtype) -> None:
    """Convert the plain weights of a model to a dtype, lazily, in place.

    In float32 every weight is converted. In a narrower dtype those stay as they are that the
    architecture wants to keep (mlx-lm's ``cast_predicate``).
    """
    converts: Any = getattr(model, "cast_predicate", None)

    def converted(path: str, array: mx.array) -> mx.array:
        if not mx.issubdtype(array.dtype, mx.floating):
            return array
        if dtype != mx.float32 and converts is not None and not converts(path):
            return array
        return array.astype(dtype)

    model.update(tree_map_with_path(converted, model.parameters()))


def stored_dtype(model: Any, config: dict[str, Any]) -> mx.Dtype:
    """Return the dtype of a quantized model's plain weights.

    That is the dtype of its scales, or where these are packed too the one that config.json names.
    """
    scales = (module.get("scales") for module in model.modules())
    known: set[mx.Dtype] = {array.dtype for array in scales if array is not None}
    floating = sorted((each for each in known if mx.issubdtype(each, mx.floating)), key=str)
    sources = (config, text_settings(config))
    named = [source.get(name) for source in sources for name in ("dtype", "torch_dtype")]
    said = [DTYPES[name] for name in named if name in DTYPES]
    dtype: mx.Dtype = [*floating, *said, mx.bfloat16][0]
    return dtype


def _can_be_expanded(module: Any) -> bool:
    """Return True for a quantized module with a plain twin; any other stays quantized."""
    return type(module) in _TWINS and getattr(module, "global_scale", None) is None


def _expanded(module: Any, dtype: mx.Dtype) -> Any:
    """Return the plain twin of a quantized module, with its weights still to be computed."""
    scales, biases = module.scales, module.biases
    if mx.issubdtype(scales.dtype, mx.floating):
        # In the wanted dtype already: MLX's kernel for float32 is three times as fast as the others.
        scales, biases = scales.astype(dtype), biases.astype(dtype)
    twin, sizes = _TWINS[type(module)]
    plain: Any = twin(*sizes)
    plain.weight = mx.dequantize(
        module.weight,
        scales,
        biases,
        module.group_size,
        module.bits,
        module.mode,
        dtype=dtype,
    )
    plain.pop("bias", None)
    if "bias" in module:
        plain.bias = module.bias
    return plain


_TWINS: dict[type, tuple[Any, tuple[int, ...]]] = {
    nn.QuantizedLinear: (nn.Linear, (1, 1)),
    nn.QuantizedEmbedding: (nn.Embedding, (1, 1)),
    QuantizedSwitchLinear: (SwitchLinear, (1, 1, 1)),
    QuantizedMultiLinear: (MultiLinear, (1, 1, 1)),
}
"""The plain class of each quantized one, and sizes to create it with: its weight is replaced."""
