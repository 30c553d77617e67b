"""The files of a trained adapter, in the format of mlx-lm or of PEFT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import mlx.core as mx

from mlxwire_protocol import invalid_params

from ..mlx_engine.adapters.formats import TENSORS
from .adapting import Trained
from .spec import TrainOptions


class AdapterFiles(NamedTuple):
    """The files of an adapter: its config, and its tensors in a file of the name ``weights``."""

    config: dict[str, Any]
    weights: str
    tensors: dict[str, mx.array]


def as_mlx(
    options: TrainOptions, trained: Trained, tensors: dict[str, mx.array], model: str
) -> AdapterFiles:
    """Return an adapter as `mlx_lm.load` reads it."""
    config: dict[str, Any] = {
        "fine_tune_type": options.method,
        "num_layers": trained.layers,
        "model": model,
    }
    if options.method != "full":
        config["lora_parameters"] = {
            "rank": options.rank,
            "scale": options.scale,
            "dropout": options.dropout,
            "keys": trained.keys,
        }
    return AdapterFiles(config, TENSORS["mlx"], tensors)


def as_peft(
    options: TrainOptions, trained: Trained, tensors: dict[str, mx.array], model: str
) -> AdapterFiles:
    """Return an adapter as PEFT (0.19) reads it."""
    alpha = options.scale * options.rank
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model,
        "inference_mode": True,
        "r": options.rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": options.dropout,
        "use_dora": options.method == "dora",
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": trained.endings,
    }
    renamed = {}
    for name, array in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "m":
            renamed[f"base_model.model.{module}.lora_magnitude_vector"] = array
        else:
            kind = "lora_A.weight" if leaf == "lora_a" else "lora_B.weight"
            renamed[f"base_model.model.{module}.{kind}"] = mx.contiguous(array.T)
    return AdapterFiles(config, TENSORS["peft"], renamed)


def check_peft(model: Any, trained: Trained, stored: Iterable[str]) -> None:
    """Refuse modules that PEFT can't find by their names, or that are no linear layers.

    ``stored`` are the names of the tensors in the model's files, which transformers has as the names
    of its modules. Raises: WireError ``invalid_params``.
    """
    names = set(stored)
    modules = dict(model.named_modules())
    for path in trained.modules:
        linear = "linear" in modules[path] and modules[path].lora_a.ndim == 2
        if linear and f"{path}.weight" in names:
            continue
        raise invalid_params(
            "format",
            f"PEFT has no linear layer {path!r} of this model to adapt; set `format` to `mlx`, or name "
            "`keys` without it",
        )
