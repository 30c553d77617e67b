"""Layers that share their tables of rotary positions compute what mlx-lm's own do, bit for bit."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx_lm.models.rope_utils import Llama3RoPE

from mlxwire_worker.mlx_engine.mlx_patches.rotary import share_tables

SCALED = {"factor": 8.0, "original_max_position_embeddings": 64}
ROPES = {
    "plain": lambda: nn.RoPE(32, base=500_000.0),
    "scaled": lambda: nn.RoPE(16, base=10_000.0, scale=0.25),
    "llama3": lambda: Llama3RoPE(32, scaling_config=SCALED),
    "a part of the head": lambda: nn.RoPE(8),
    "traditional": lambda: nn.RoPE(32, traditional=True),
}


class Layers(nn.Module):
    """Just what rotates in each of three layers."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.layers = [make() for _ in range(3)]


@pytest.fixture(autouse=True)
def on_the_cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ROPES)
def test_results_are_those_of_mlx_bit_for_bit(kind: str, dtype: mx.Dtype) -> None:
    make = ROPES[kind]
    own, tabled = make(), Layers(make)
    share_tables(tabled)
    offsets = [0, 0, 17, 4_000, mx.array(9), mx.array([3, 11])]
    for rows, length, offset in [(2, n, at) for at in offsets for n in (1, 5)]:
        head = 16 if kind == "scaled" else 32
        x = mx.random.normal((rows, 3, length, head)).astype(dtype)
        for layer in tabled.layers:
            assert mx.array_equal(layer(x, offset=offset), own(x, offset=offset))


def test_positions_are_computed_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    rotate = mx.fast.rope

    def counting(*args: Any, **options: Any) -> mx.array:
        computed.append(options["offset"])
        return rotate(*args, **options)

    monkeypatch.setattr(mx.fast, "rope", counting)
    model = Layers(ROPES["plain"])
    share_tables(model)
    offsets = [7, 8, mx.array([3, 9]), mx.array([4, 10]), 8]
    for offset in offsets:
        for layer in model.layers:
            layer(mx.ones((2, 2, 1, 32)), offset=offset)

    assert [str(offset) for offset in computed] == [str(offset) for offset in offsets]


def test_layers_of_other_frequencies_have_tables_of_their_own() -> None:
    model = Layers(ROPES["plain"])
    model.layers[1] = nn.RoPE(32, base=10_000.0)
    share_tables(model)
    x = mx.random.normal((1, 2, 3, 32))

    assert model.layers[0].table is model.layers[2].table
    assert mx.array_equal(model.layers[1](x, offset=5), nn.RoPE(32)(x, offset=5))
    assert mx.array_equal(model.layers[2](x, offset=5), ROPES["plain"]()(x, offset=5))
