"""The number of parameters is that of the unpacked weights, whatever packs them."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.bitlinear_layers import BitLinear
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.utils import load_model

from mlxwire_worker.mlx_engine.models.assembly import parameter_count
from zoo.builder import build

FORMS = [("affine", group, bits) for group in (32, 64) for bits in (1, 2, 3, 4, 5, 6, 8)]
FORMS += [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]
ARCHITECTURES = ["mamba2", "qwen3_next", "deepseek_v3", "gpt_oss", "gemma3n"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_arrays_beside_the_leaf_modules_count_too(tmp_path: Path, architecture: str) -> None:
    model = load_model(build(architecture, tmp_path), lazy=True)[0]
    stored = sum(array.size for _, array in tree_flatten(model.parameters()))

    nn.quantize(
        model,
        32,
        4,
        class_predicate=lambda _, m: (
            hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0
        ),
    )

    assert parameter_count(model) == stored


@pytest.mark.parametrize(("mode", "group", "bits"), FORMS)
def test_each_way_to_quantize_leaves_the_number_as_it_is(
    mode: str, group: int, bits: int
) -> None:
    layers = [nn.Embedding(7, 192), nn.Linear(192, 5), SwitchLinear(192, 4, 3)]
    model = nn.Sequential(*layers)
    before = parameter_count(model)

    nn.quantize(model, group, bits, mode=mode)

    assert before == 7 * 192 + (5 * 192 + 5) + 3 * (4 * 192 + 4)
    assert parameter_count(model) == before


def test_a_scale_of_a_whole_tensor_is_no_parameter() -> None:
    experts = SwitchLinear(64, 8, 2, bias=False)

    packed = nn.Sequential(experts.to_quantized(16, 4, "nvfp4", global_scale=True))

    assert parameter_count(packed) == 2 * 8 * 64


def test_a_ternary_weight_counts_as_four_to_a_byte() -> None:
    packed = nn.Sequential(BitLinear(64, 30, bias=False))

    assert packed.layers[0].weight.dtype == mx.uint8
    assert parameter_count(packed) == 30 * 64
