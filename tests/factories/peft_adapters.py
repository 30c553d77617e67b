"""LoRA adapters as PEFT saves them, whose names and shapes are those of PyTorch's modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from .models import write_json

PREFIX = "base_model.model."
TENSORS = "adapter_model.safetensors"


def build_peft_adapter(
    directory: Path | str,
    shapes: Mapping[str, tuple[int, int]],
    *,
    rank: int = 4,
    alpha: float = 8,
    ranks: Mapping[str, int] | None = None,
    seed: int = 0,
    dora: bool = False,
    dtype: mx.Dtype = mx.float32,
    **config: Any,
) -> Path:
    """Write an adapter into `directory`; return that folder.

    Args:
        directory: where to write; made if absent.
        shapes: outputs and inputs of each adapted linear layer, by its name in PyTorch.
        rank: of A [rank, inputs] and B [outputs, rank].
        alpha: what PEFT divides by the rank, or by its root.
        ranks: other ranks, by the names of layers.
        seed: of the numbers; the same seed gives the same bytes.
        dora: whether each layer has a magnitude [outputs] too.
        dtype: of all tensors.
        config: entries that replace those of adapter_config.json.
    """
    tensors: dict[str, mx.array] = {}
    keys = mx.random.split(mx.random.key(seed), 3 * len(shapes)).reshape(-1, 3, 2)
    for key, (name, (outputs, inputs)) in zip(keys, shapes.items(), strict=True):
        own = (ranks or {}).get(name, rank)
        start = PREFIX + name
        tensors[f"{start}.lora_A.weight"] = 0.1 * mx.random.normal((own, inputs), key=key[0])
        tensors[f"{start}.lora_B.weight"] = 0.1 * mx.random.normal((outputs, own), key=key[1])
        if dora:
            magnitude = mx.random.uniform(0.5, 2, (outputs,), key=key[2])
            tensors[f"{start}.lora_magnitude_vector"] = magnitude
    settings = peft_config(
        r=rank,
        lora_alpha=alpha,
        use_dora=dora,
        target_modules=sorted({name.rpartition(".")[2] for name in shapes}),
        **({"rank_pattern": dict(ranks)} if ranks else {}),
    )
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    save_peft_tensors(target, {name: each.astype(dtype) for name, each in tensors.items()})
    write_json(target / "adapter_config.json", settings | config)
    return target


def save_peft_tensors(directory: Path, tensors: dict[str, mx.array]) -> None:
    """Write an adapter's tensors."""
    mx.eval(tensors)
    mx.save_safetensors(str(directory / TENSORS), tensors, metadata={"format": "pt"})


def peft_config(**entries: Any) -> dict[str, Any]:
    """Return a whole adapter_config.json as PEFT 0.17 writes it, with other entries."""
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": "somebody/some-model",
        "bias": "none",
        "corda_config": None,
        "eva_config": None,
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layer_replication": None,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "lora_alpha": 8,
        "lora_bias": False,
        "lora_dropout": 0.05,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "qalora_group_size": 16,
        "r": 4,
        "rank_pattern": {},
        "revision": None,
        "target_modules": ["q_proj", "v_proj"],
        "target_parameters": None,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": None,
        "use_dora": False,
        "use_qalora": False,
        "use_rslora": False,
    } | entries
