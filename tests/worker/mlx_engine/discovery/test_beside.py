"""Adapters made for a model are told with it, and so is the pooling of its vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.skeletons import WIDTH, llama_shapes, write_model, write_weights

from .conftest import Find


def write_adapter(
    folder: Path, *, layer: int = 0, rows: int = WIDTH, peft: bool = False
) -> Path:
    folder.mkdir(parents=True)
    at = f"model.layers.{layer}.self_attn.q_proj"
    if peft:
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
        at = f"base_model.model.{at}"
        shapes = {
            f"{at}.lora_A.weight": ("F32", [8, WIDTH]),
            f"{at}.lora_B.weight": ("F32", [rows, 8]),
        }
        write_weights(folder / "adapter_model.safetensors", shapes)
    else:
        (folder / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora"}))
        shapes = {f"{at}.lora_a": ("F32", [WIDTH, 8]), f"{at}.lora_b": ("F32", [8, rows])}
        write_weights(folder / "adapters.safetensors", shapes)
    return folder


def adapters(find: Find, folder: Path) -> list[tuple[str, str]]:
    (found,) = find(folder)
    assert found.described is not None
    return [(each["path"], each["format"]) for each in found.described["adapters"]]


def test_adapters_below_a_model_and_beside_it_are_told(find: Find, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models" / "model")
    below = write_adapter(model / "adapters" / "one")
    inside = write_adapter(model / "two", peft=True)
    beside = write_adapter(tmp_path / "models" / "three", peft=True)
    collected = write_adapter(tmp_path / "models" / "adapters" / "four")

    assert adapters(find, tmp_path) == [
        (str(collected), "mlx"),
        (str(below), "mlx"),
        (str(inside), "peft"),
        (str(beside), "peft"),
    ]


@pytest.mark.parametrize("wrong", [{"layer": 7}, {"rows": WIDTH + 8}])
def test_an_adapter_beside_a_model_that_it_does_not_fit_is_not_told(
    find: Find, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    write_model(tmp_path / "model")
    write_adapter(tmp_path / "adapter", **wrong)

    assert adapters(find, tmp_path) == []


def test_an_adapter_of_a_model_with_packed_weights_fits_too(find: Find, tmp_path: Path) -> None:
    shapes: dict[str, Any] = llama_shapes()
    at = "model.layers.0.self_attn.q_proj"
    shapes[f"{at}.weight"] = ("U32", [WIDTH, WIDTH // 8])
    shapes[f"{at}.scales"] = shapes[f"{at}.biases"] = ("BF16", [WIDTH, WIDTH // 32])
    quantization = {"bits": 4, "group_size": 32}
    write_model(tmp_path / "model", shapes, quantization=quantization)
    adapter = write_adapter(tmp_path / "adapter")

    assert adapters(find, tmp_path) == [(str(adapter), "mlx")]


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None),
    ],
)
def test_the_pooling_is_that_of_the_modules(
    find: Find, tmp_path: Path, settings: dict[str, Any], pooling: str | None
) -> None:
    model = write_model(tmp_path / "model")
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (found,) = find(tmp_path)

    assert found.described is not None
    assert found.described["pooling"] == pooling
