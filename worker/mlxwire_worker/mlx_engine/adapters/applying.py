"""Applies an adapter to a model that is being loaded (`adapter_path`), in layers of mlx-lm.

So it is a part of the model itself. Whole weights (``fine_tune_type`` full) are possible here alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from ..models.model_files import failed, quoted
from .adapter import Adapter, AdapterTensors
from .checking import TensorFile
from .formats import TENSORS, check_folder, naming, read_adapter
from .layers import EMBEDDING, EXPERTS

FIELD = "adapter_path"


def check_adapter(path: Path) -> None:
    """Check an adapter folder's files, config and tensor header, without reading a tensor.

    Raises: WireError ``model_not_found`` or ``model_load_failed``.
    """
    with naming(FIELD):
        form, _ = check_folder(path)
        TensorFile(path / TENSORS[form])


def apply_adapter(model: nn.Module, path: Path) -> list[str]:
    """Apply the adapter in a folder to a model that is not in use yet.

    Returns the paths of the modules that have layers of mlx-lm now. Raises: WireError
    ``model_load_failed``; then the model is as it was.
    """
    with naming(FIELD):
        form, config = check_folder(path)
        if form == "mlx" and config.get("fine_tune_type") == "full":
            _replace_weights(model, path)
            return []
    modules = dict(model.named_modules())
    adapter = read_adapter(path, modules, field=FIELD)
    _put(model, modules, adapter)
    return list(adapter.modules)


def adapter_files(path: Path) -> list[Path]:
    """Return the files that decide what the adapter in a folder computes."""
    names = ("adapter_config.json", *TENSORS.values())  # the config has the scale
    return [path / name for name in names if (path / name).is_file()]


def _put(model: nn.Module, modules: dict[str, nn.Module], adapter: Adapter) -> None:
    layers = [
        (path, _layer(modules[path], tensors)) for path, tensors in adapter.modules.items()
    ]
    model.update_modules(tree_unflatten(layers))
    try:
        model(mx.array([[0, 0]]))  # lazy: shapes alone are worked out
    except Exception as error:  # an architecture may do anything with its layers
        model.update_modules(
            tree_unflatten([(path, modules[path]) for path in adapter.modules])
        )
        raise failed(
            "adapter",
            f"mlx-lm can't compute this model with layers of an adapter ({quoted(error)}); use an "
            "adapter of fewer modules, or none",
        ) from error
    model.eval()


def _layer(module: nn.Module, tensors: AdapterTensors) -> nn.Module:
    """Return mlx-lm's layer with an adapter of a module."""
    from mlx_lm.tuner.dora import DoRALinear  # imports all of mlx-lm's trainer
    from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

    kind: Any = LoRALinear if tensors.magnitude is None else DoRALinear
    if isinstance(module, EMBEDDING):
        kind = LoRAEmbedding
    elif isinstance(module, EXPERTS):
        kind = LoRASwitchLinear
    layer: Any = kind.from_base(module, r=1, dropout=0.0, scale=tensors.scale)
    layer.lora_a, layer.lora_b = tensors.a, tensors.b
    if tensors.magnitude is not None:
        layer.m = tensors.magnitude
    return layer


def _replace_weights(model: nn.Module, folder: Path) -> None:
    """Replace weights by those of a full fine-tuning. Raises: WireError."""
    file = TensorFile(folder / TENSORS["mlx"])
    own: Any = dict(tree_flatten(model.parameters()))
    for tensor, shape in file.shapes.items():
        if tensor not in own:
            raise file.refused(
                tensor, "is no weight of this model; use one that was trained on it"
            )
        if shape != own[tensor].shape:
            raise file.refused(
                tensor,
                f"has the shape {shape}, and the model's has {own[tensor].shape}; use one "
                "that was trained on this model",
            )
    model.load_weights(list(file.read().items()), strict=False)
    model.eval()
