"""Checks LoRA, DoRA and full adapters in mlx-lm's format, and applies them at load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from mlxwire_protocol import WireError

from .model_files import check_files, failed, read_object
from .weight_files import refuse_repeated_names

_KINDS = ("lora", "dora", "full")
_LEAVES = frozenset({"lora_a", "lora_b", "m"})


def check_adapter(path: Path) -> None:
    """Check an adapter folder's files, config and tensor header, without reading a tensor.

    Raises: WireError ``model_not_found`` or ``model_load_failed``.
    """
    if not path.is_dir():
        raise WireError(
            "model_not_found",
            f"there is no adapter folder {str(path)!r}; give the path of a folder with "
            "adapter_config.json and adapters.safetensors",
            data={"path": str(path), "field": "adapter_path"},
        )
    check_files(path)
    if any((path / f"adapter_model.{end}").exists() for end in ("safetensors", "bin")):
        raise failed(
            "adapter",
            "the adapter is in PEFT's form (adapter_model), which mlx-lm can't read; merge it into "
            "the model with PEFT, or train it with mlx_lm.lora",
            file="adapter_config.json",
        )
    for name in ("adapter_config.json", "adapters.safetensors"):
        if not (path / name).is_file():
            raise failed(
                "adapter",
                f"the adapter folder has no {name}; copy the file from where the adapter was "
                "trained",
                file=name,
            )
    config = read_object(path / "adapter_config.json")
    kind = config.get("fine_tune_type", "lora")
    if kind not in _KINDS:
        raise failed(
            "adapter",
            f"adapter_config.json has the `fine_tune_type` {str(kind)[:40]!r}; accepted are "
            f"{', '.join(_KINDS)}; use an adapter of one of these types",
            file="adapter_config.json",
        )
    if kind != "full":
        for name in ("num_layers", "lora_parameters"):
            if name not in config:
                raise failed(
                    "adapter",
                    f"adapter_config.json has no `{name}`; save the adapter again with mlx_lm.lora",
                    file="adapter_config.json",
                )
    try:
        refuse_repeated_names(path / "adapters.safetensors")
        with safe_open(str(path / "adapters.safetensors"), framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise failed(
            "adapter",
            f"adapters.safetensors is truncated or damaged ({error}); copy it again from where "
            "the adapter was trained",
            file="adapters.safetensors",
        ) from None


def apply_adapter(model: Any, path: Path) -> Any:
    """Apply a checked adapter to a model that is not in use yet, and return the model.

    mlx-lm accepts an adapter that lacks some of its tensors and computes with random ones instead
    (docs/engine-notes.md §12); here a missing tensor is an error.

    Raises: WireError ``model_load_failed``.
    """
    from mlx_lm.tuner.utils import load_adapters

    try:
        model = load_adapters(model, str(path))
    except MemoryError:
        raise
    except Exception as error:  # a bad number in the config can raise anything in mlx-lm or MLX
        raise failed(
            "adapter",
            f"the adapter does not fit this model ({' '.join(str(error).split())[:300]}); use one "
            "that was trained on it",
            file="adapters.safetensors",
        ) from None
    with safe_open(str(path / "adapters.safetensors"), framework="numpy") as file:
        given = set(file.keys())
    leaves = {name for name, _ in tree_flatten(model.parameters())}
    wanted = {name for name in leaves if name.rsplit(".", 1)[-1] in _LEAVES}
    if missing := sorted(wanted - given):
        raise failed(
            "adapter",
            f"the adapter lacks {len(missing)} of {len(wanted)} tensors ({missing[0]} is the "
            "first); copy adapters.safetensors again from where the adapter was trained",
            file="adapters.safetensors",
        )
    model.eval()
    return model
