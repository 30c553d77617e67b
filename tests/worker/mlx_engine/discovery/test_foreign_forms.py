"""Weights that other programs have packed are counted as a load of them counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from factories.damage import edit_config
from mlxwire_worker.mlx_engine.discovery.full_check import FullCheck
from mlxwire_worker.mlx_engine.models.safetensors_header import read_header
from support.building import built_info
from support.skeletons import write_weights
from zoo.builder import build

from .conftest import Find

Tensors = dict[str, tuple[str, list[int]]]
SAME = ("parameters", "quant_bits", "quant_group", "quant_mode", "weight_bytes", "vocab_size")


def awq(name: str, shape: list[int]) -> Tensors:
    if not name.endswith("proj.weight"):
        return {name: ("F16", shape)}
    rows, columns = shape
    path = name.removesuffix(".weight")
    return {
        f"{path}.qweight": ("I32", [columns, rows // 8]),
        f"{path}.scales": ("F16", [columns // 32, rows]),
        f"{path}.qzeros": ("I32", [columns // 32, rows // 8]),
    }


def fp8(name: str, shape: list[int]) -> Tensors:
    if "proj" not in name or "kv_b" in name or len(shape) != 2:
        return {name: ("BF16", shape)}
    return {name: ("F8_E4M3", shape), f"{name}_scale_inv": ("F32", [1, 1])}


def packed(name: str, shape: list[int]) -> Tensors:
    if "mlp" not in name or "proj.weight" not in name or len(shape) != 2 or shape[1] % 32:
        return {name: ("BF16", shape)}
    path = name.removesuffix(".weight")
    return {
        f"{path}.weight_packed": ("I32", [shape[0], shape[1] // 8]),
        f"{path}.weight_scale": ("BF16", [shape[0], shape[1] // 32]),
        f"{path}.weight_shape": ("I32", [2]),
    }


def blocks(name: str, shape: list[int]) -> Tensors:
    experts, found, rest = name.partition("experts.")
    if not found:
        return {name: ("BF16", shape)}
    if rest.startswith("up_proj"):
        return {}
    rows, part = (128, "gate_up_proj") if rest.startswith("gate") else (64, "down_proj")
    path = f"{experts}experts.{part}"
    if rest.endswith("bias"):
        return {f"{path}_bias": ("BF16", [4, rows])}
    return {
        f"{path}_blocks": ("U8", [4, rows, 2, 16]),
        f"{path}_scales": ("U8", [4, rows, 2]),
    }


FORMS: dict[str, tuple[str, Callable[[str, list[int]], Tensors], dict[str, Any]]] = {
    "awq": ("llama", awq, {"quant_method": "awq", "bits": 4, "group_size": 32}),
    "fp8": ("deepseek_v3", fp8, {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    "compressed-tensors": (
        "deepseek_v3",
        packed,
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    ),
    "mxfp4 blocks": ("gpt_oss", blocks, {"quant_method": "mxfp4"}),
}


@pytest.fixture(scope="module")
def check() -> Iterator[FullCheck]:
    shared = FullCheck()
    yield shared
    shared.close()


@pytest.mark.parametrize("form", FORMS)
def test_the_headers_of_a_form_tell_what_its_modules_tell(
    find: Find, check: FullCheck, tmp_path: Path, form: str
) -> None:
    animal, packs, settings = FORMS[form]
    folder = build(animal, tmp_path / "model")
    held = read_header(folder / "model.safetensors")
    tensors: Tensors = {}
    for name, tensor in held.items():
        tensors |= packs(name, list(tensor.shape))
    write_weights(folder / "model.safetensors", tensors)
    edit_config(folder, quantization_config=settings)
    if packs is blocks:
        edit_config(folder, intermediate_size=64)
    info = built_info(check, folder)

    (found,) = find(folder)

    assert found.described is not None, found.error
    assert {name: found.described[name] for name in SAME} == {n: info[n] for n in SAME}
