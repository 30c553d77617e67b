"""Writes a model with an adapter in its weights, by mlx-lm's own fusing of each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from mlx import nn
from mlx.utils import tree_unflatten

from ..models.assembly import quantized_modules, weight_bytes
from ..models.compute_dtype import expand, stored_dtype
from ..models.module_tree import build_tree
from ..models.preflight import check_model
from ..models.quantization import foreign_method, without_quantization
from ..writing.model_folder import copy_side_files, side_bytes, write_config, write_weights
from ..writing.new_folder import check_room, new_folder, new_place
from .applying import apply_adapter, check_adapter
from .layers import dense_weight


class Fused(TypedDict):
    """A fused model: its folder, the number of fused modules, and its weights."""

    path: str
    modules: int
    bytes: int
    quantized: bool


def fuse(model: Path, adapter: Path, out: str | Path, *, dequantize: bool) -> Fused:
    """Write the model of a folder with an adapter in its weights into the new folder ``out``.

    A quantized layer is quantized again as it was, unless ``dequantize``. ``out`` appears whole or
    not at all. Raises: WireError, also for an ``out`` that exists.
    """
    place = new_place(out, model, adapter)
    checked = check_model(model)
    check_adapter(adapter)
    tree = build_tree(checked, lambda: None)
    paths = apply_adapter(tree.model, adapter)
    fused = _without_layers(tree.model, tree.config, paths, dequantize=dequantize)
    config = _config(tree.config, fused)
    size, quantized = weight_bytes(fused), bool(quantized_modules(fused))
    check_room(place, size + side_bytes(model), "the fused model")
    with new_folder(place, "the fused model") as folder:
        write_config(folder, fused, config)
        write_weights(folder, fused)
        copy_side_files(model, folder)
    return Fused(path=str(place), modules=len(paths), bytes=size, quantized=quantized)


def _without_layers(
    model: nn.Module, config: dict[str, Any], paths: list[str], *, dequantize: bool
) -> nn.Module:
    """Return a model whose layers with adapters became plain or quantized ones again."""
    modules: dict[str, Any] = dict(model.named_modules())
    fused = []
    for path in paths:
        layer = modules[path]
        if "m" in layer:  # float32, and would make the whole weight float32
            layer.m = layer.m.astype(dense_weight(layer.linear).dtype)
        fused.append((path, layer.fuse(dequantize=dequantize)))
    if fused:
        model.update_modules(tree_unflatten(fused))
    if dequantize:
        expand(model, stored_dtype(model, config))
    return model


def _config(config: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return the config without settings of a quantization that the weights have no more."""
    if quantized_modules(model) or foreign_method(config) == "bitnet":
        return config
    return without_quantization(config)
