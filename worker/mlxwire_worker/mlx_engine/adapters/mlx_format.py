"""Reads LoRA and DoRA adapters in mlx-lm's format: adapter_config.json, adapters.safetensors.

mlx-lm applies an adapter that lacks some of its tensors, and computes with random ones instead
(docs/engine-notes.md §12). So the modules are chosen here as mlx-lm chooses them, and each must
have its tensors, and no other may have any.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mlx import nn

from mlxwire_protocol import WireError

from ..models.model_files import quoted
from .adapter import Adapter, AdapterTensors
from .checking import (
    CONFIG,
    Sizes,
    TensorFile,
    checked_sizes,
    finite_number,
    parts_of,
    refused,
    sizes_of,
    whole_number,
)

TENSORS = "adapters.safetensors"
KINDS = ("lora", "dora", "full")
_AGAIN = "save the adapter again with mlx_lm.lora"


def check_kind(config: dict[str, Any]) -> str:
    """Return the kind of an adapter, one of ``KINDS``. Raises: WireError."""
    kind = config.get("fine_tune_type", "lora")
    if kind not in KINDS:
        raise refused(
            f"{CONFIG} has the `fine_tune_type` {str(kind)[:40]!r}; accepted are "
            f"{', '.join(KINDS)}; use an adapter of one of these types",
            file=CONFIG,
        )
    if kind != "full":
        for name in ("num_layers", "lora_parameters"):
            if name not in config:
                raise refused(f"{CONFIG} has no `{name}`; {_AGAIN}", file=CONFIG)
    return str(kind)


def read_mlx(folder: Path, config: dict[str, Any], modules: Mapping[str, nn.Module]) -> Adapter:
    """Read an adapter. ``modules`` are the model's by their paths. Raises: WireError."""
    kind = check_kind(config)
    if kind == "full":
        raise refused(
            f"the adapter holds whole weights (`fine_tune_type` full in {CONFIG}), which can't be exchanged "
            "while the model runs; load it with the model (`adapter_path`), or fuse it",
            file=CONFIG,
        )
    rank, scale = _numbers(config)
    chosen = _chosen(config, modules)
    file = TensorFile(folder / TENSORS)
    method: Literal["lora", "dora"] = "dora" if kind == "dora" else "lora"
    leaves = ["lora_a", "lora_b", *(["m"] if method == "dora" else [])]
    for tensor in file.shapes:
        _check_place(file, tensor, chosen, leaves, modules)
    base = config.get("model") if isinstance(config.get("model"), str) else None
    for path in sorted(chosen):
        first = f"{path}.lora_a"
        sizes = checked_sizes(
            path, modules[path], dora=method == "dora", tensor=first, file=file
        )
        for leaf in leaves:
            tensor = f"{path}.{leaf}"
            if tensor not in file.shapes:
                raise file.missing(tensor, f", although {CONFIG} names its module")
            file.check_shape(tensor, _axes(leaf, sizes, rank), base)
    arrays = file.read()
    return Adapter(
        path=folder,
        format="mlx",
        method=method,
        rank=rank,
        scale=scale,
        modules={
            path: AdapterTensors(
                arrays[f"{path}.lora_a"],
                arrays[f"{path}.lora_b"],
                scale,
                arrays.get(f"{path}.m"),
            )
            for path in chosen
        },
    )


def _axes(leaf: str, sizes: Sizes, rank: int) -> dict[str, int]:
    """Return the axes of a tensor as mlx-lm stores it, by name and in order."""
    if leaf == "m":
        return {"outputs": sizes.outputs}
    if sizes.kind == "experts":
        if leaf == "lora_a":
            return {"experts": sizes.experts, "rank": rank, "inputs": sizes.inputs}
        return {"experts": sizes.experts, "outputs": sizes.outputs, "rank": rank}
    if leaf == "lora_a":
        return {"inputs": sizes.inputs, "rank": rank}
    return {"rank": rank, "outputs": sizes.outputs}


def _numbers(config: dict[str, Any]) -> tuple[int, float]:
    """Return rank and scale. Raises: WireError."""
    parameters = config["lora_parameters"]
    if not isinstance(parameters, dict):
        raise refused(f"`lora_parameters` in {CONFIG} is no object; {_AGAIN}", file=CONFIG)
    rank = whole_number(parameters.get("rank"), 1)
    if rank is None:
        raise _wrong("rank", parameters, "an integer from 1 on")
    scale = finite_number(parameters.get("scale"))
    if scale is None:
        hint = ""
        if "scale" not in parameters and "alpha" in parameters:
            hint = " (mlx-lm's `scale` is alpha / rank)"
        raise _wrong("scale", parameters, f"a finite number{hint}")
    dropout = finite_number(parameters.get("dropout", 0.0))
    if dropout is None or not 0 <= dropout < 1:
        raise _wrong("dropout", parameters, "a number from 0 on and below 1")
    return rank, scale


def _wrong(name: str, parameters: dict[str, Any], accepted: str) -> WireError:
    told = quoted(repr(parameters[name])) if name in parameters else "missing"
    return refused(
        f"`lora_parameters.{name}` in {CONFIG} is {told}; it has to be {accepted}; {_AGAIN}",
        file=CONFIG,
    )


def _chosen(config: dict[str, Any], modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the modules that mlx-lm adapts for a config, by their paths. Raises: WireError."""
    count = config["num_layers"]
    if type(count) is not int:
        raise refused(
            f"`num_layers` in {CONFIG} is {quoted(repr(count))}; it has to be an integer; {_AGAIN}",
            file=CONFIG,
        )
    keys = config["lora_parameters"].get("keys")
    if keys is not None and not (
        isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
    ):
        raise _wrong("keys", config["lora_parameters"], "a list of names")
    layers = layer_paths(modules)
    if keys is None:
        keys = {
            path.removeprefix(start)
            for start in layers
            for path, module in modules.items()
            if path.startswith(start) and (sizes_of(module) or hasattr(module, "to_lora"))
        }
    # As mlx-lm: 0 and less mean all layers, and a key may also name a module from the root.
    adapted = layers[-max(count, 0) :]
    chosen = {
        path: module
        for start in adapted
        for path, module in modules.items()
        if path.startswith(start) and path.removeprefix(start) in keys
    }
    chosen.update((path, module) for path, module in modules.items() if path and path in keys)
    if not chosen:
        raise refused(
            f"`lora_parameters.keys` in {CONFIG} names no module of this model "
            f"({quoted(', '.join(sorted(keys)))}); use an adapter that was trained on this model",
            file=CONFIG,
        )
    return chosen


def layer_paths(modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the paths of the model's layers in order, each with a dot at its end."""
    paths = {id(module): path for path, module in modules.items()}
    layers = getattr(modules[""], "layers", [])
    return [f"{paths[id(layer)]}." for layer in layers if id(layer) in paths]


def _check_place(
    file: TensorFile,
    tensor: str,
    chosen: Mapping[str, nn.Module],
    leaves: list[str],
    modules: Mapping[str, nn.Module],
) -> None:
    """Refuse a tensor that no adapted module takes."""
    path, _, leaf = tensor.rpartition(".")
    if path in chosen and leaf in leaves:
        return
    if path not in modules:
        raise file.refused(
            tensor,
            f"is for a module that this model lacks ({parts_of(modules, path)}); use an adapter "
            "that was trained on this model",
        )
    if path in chosen or leaf not in ("lora_a", "lora_b", "m"):
        raise file.refused(
            tensor, f"is no tensor of such an adapter, which has {', '.join(leaves)}; {_AGAIN}"
        )
    raise file.refused(
        tensor,
        f"is for a module that `num_layers` and `lora_parameters.keys` in {CONFIG} leave out; copy "
        "both files again from where the adapter was trained",
    )
