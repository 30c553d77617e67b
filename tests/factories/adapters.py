"""LoRA adapters as `mlx_lm.lora` saves them, with a B that is not zero, so that they matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

from .models import write_json
from .weights import shapes_of


def build_adapter(
    model_path: Path | str,
    directory: Path | str,
    *,
    seed: int = 0,
    rank: int = 4,
    scale: float = 20.0,
    num_layers: int = 2,
    keys: list[str] | None = None,
) -> Path:
    """Write an adapter of the model at `model_path` into `directory`; return that folder.

    Args:
        model_path: a folder from `build_model`, quantized or not.
        directory: where to write; made if absent.
        seed: of the adapter's weights; the same seed gives the same bytes.
        rank: of A (in, rank) and B (rank, out), which are float32 as mlx-lm trains them.
        scale: of the product, in mlx-lm's own sense (not alpha).
        num_layers: how many of the last layers are adapted.
        keys: module names within a layer; default: the query and the value projection.
    """
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    lora = {
        "rank": rank,
        "scale": scale,
        "dropout": 0.0,
        "keys": keys or ["self_attn.q_proj", "self_attn.v_proj"],
    }
    model, _ = load_model(Path(model_path), lazy=True)
    model.freeze()
    linear_to_lora_layers(model, num_layers, lora)
    shapes = shapes_of(model.trainable_parameters())
    mx.save_safetensors(str(target / "adapters.safetensors"), _random_factors(shapes, seed))
    write_json(
        target / "adapter_config.json",
        _training_arguments(Path(model_path), target, lora, num_layers, seed),
    )
    return target


def _random_factors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, mx.array]:
    keys = mx.random.split(mx.random.key(seed), len(shapes))
    factors = {
        name: 0.1 * mx.random.normal(shapes[name], key=key)
        for name, key in zip(sorted(shapes), keys, strict=True)
    }
    mx.eval(factors)
    return factors


def _training_arguments(
    model: Path, adapter: Path, lora: dict[str, Any], num_layers: int, seed: int
) -> dict[str, Any]:
    """Return a run's arguments as mlx-lm saves them; loading reads type, layers, parameters."""
    return {
        "adapter_path": str(adapter),
        "batch_size": 4,
        "fine_tune_type": "lora",
        "grad_checkpoint": False,
        "iters": 1000,
        "learning_rate": 1e-05,
        "lora_parameters": lora,
        "max_seq_length": 2048,
        "model": str(model),
        "num_layers": num_layers,
        "optimizer": "adam",
        "seed": seed,
        "train": True,
    }
