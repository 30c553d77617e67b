"""Adapters with random numbers, made in memory for a loaded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
from mlx import nn

from mlxwire_worker.mlx_engine.adapters.adapter import Adapter, AdapterTensors
from mlxwire_worker.mlx_engine.adapters.layers import EXPERTS, LINEAR, dense_weight
from mlxwire_worker.mlx_engine.loading import LoadedModel


def random_adapter(
    loaded: LoadedModel,
    seed: int,
    *,
    rank: int = 4,
    scale: float = 2.0,
    size: float = 0.3,
    method: Literal["lora", "dora"] = "lora",
    ends: tuple[str, ...] = ("q_proj", "v_proj", "down_proj"),
) -> Adapter:
    """Return an adapter of the modules whose paths end so; ``size`` is that of its numbers."""
    modules: dict[str, AdapterTensors] = {}
    for number, (path, module) in enumerate(loaded.adapters.modules.items()):
        if path.endswith(ends):
            keys = mx.random.split(mx.random.key(seed * 1000 + number), 3)
            modules[path] = _tensors(module, rank, scale, size, method, keys)
    assert modules
    return Adapter(Path(f"random-{seed}"), "mlx", method, rank, scale, modules)


def _tensors(
    module: Any, rank: int, scale: float, size: float, method: str, keys: mx.array
) -> AdapterTensors:
    def random(shape: tuple[int, ...], place: int) -> mx.array:
        return size * mx.random.normal(shape, key=keys[place])

    if isinstance(module, EXPERTS):
        experts, outputs, inputs = module.num_experts, module.output_dims, module.input_dims
        return AdapterTensors(
            random((experts, rank, inputs), 0), random((experts, outputs, rank), 1), scale
        )
    if isinstance(module, LINEAR):
        outputs, inputs = dense_weight(module).shape
    else:
        assert isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
        inputs, outputs = module(mx.array([0])).shape[-1], 0
        vocabulary = module.weight.shape[0]
        return AdapterTensors(random((vocabulary, rank), 0), random((rank, inputs), 1), scale)
    magnitude = None
    if method == "dora":
        norm = mx.linalg.norm(dense_weight(module).astype(mx.float32), axis=1)
        magnitude = norm * (1 + random((outputs,), 2))
    return AdapterTensors(
        random((inputs, rank), 0), random((rank, outputs), 1), scale, magnitude
    )
