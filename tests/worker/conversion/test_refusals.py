"""Convert refuses bad options and sources by name, before it writes anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.conversion import converting, forms
from mlxwire_worker.mlx_engine.writing import new_folder
from support.conversion import converted, names_in
from support.model_worker import Models
from zoo.builder import build

OPTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"bits": 7}, "bits", "2, 3, 4, 5, 6, 8"),
    ({"bits": 0}, "bits", "2, 3, 4, 5, 6, 8"),
    ({"bits": "4"}, "bits", "int"),
    ({"bits": 8, "mode": "mxfp4"}, "bits", "4 alone"),
    ({"bits": 4, "mode": "mxfp8"}, "bits", "8 alone"),
    ({"group_size": 64, "mode": "nvfp4"}, "group_size", "16 alone"),
    ({"group_size": 48}, "group_size", "32, 64, 128"),
    ({"mode": "int4"}, "mode", "affine, mxfp4, nvfp4, mxfp8"),
    ({"mode": "mxfp4", "mixed": "mixed_3_6"}, "mode", "leave"),
    ({"mixed": "mixed_1_2"}, "mixed", "mixed_4_6, dynamic"),
    ({"mixed": "awq"}, "mixed", "mlx_lm.awq"),
    ({"mixed": "mixed_3_6", "bits": 4}, "bits", "leave"),
    ({"mixed": "dynamic"}, "text", "give `text`"),
    ({"target_bits": 4.5}, "target_bits", "dynamic"),
    ({"dtype": "int8"}, "dtype", "float32, bfloat16, float16"),
    ({"dequantize": True}, "dequantize", "plain already"),
    ({"text": "no such file"}, "text", "can't be read"),
]


def refusal(*arguments: Any, **options: Any) -> WireError:
    with pytest.raises(WireError) as refused:
        converted(*arguments, **options)
    return refused.value


@pytest.mark.parametrize(("options", "field", "told"), OPTIONS, ids=lambda value: str(value))
def test_a_value_is_refused_with_what_is_accepted(
    models: Models, tmp_path: Path, options: dict[str, Any], field: str, told: str
) -> None:
    error = refusal(models("qwen3"), tmp_path / "out", **options)

    assert (error.code, error.field) == ("invalid_params", field)
    assert told in error.message
    assert names_in(tmp_path) == []


def test_a_group_that_divides_no_row_is_refused_with_those_that_do(tmp_path: Path) -> None:
    source = build("gpt_oss", tmp_path / "source")

    error = refusal(source, tmp_path / "out", group_size=128)

    assert (error.code, error.field) == ("invalid_params", "group_size")
    assert "48, 64" in error.message
    assert error.message.endswith("give 32 or 64")
    assert names_in(tmp_path) == ["source"]


def test_a_mode_that_this_mlx_does_not_have_is_refused(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(*_: object) -> None:
        raise ValueError("[quantize] Invalid quantization mode 'mxfp8'.")

    monkeypatch.setattr(forms.mx, "quantize", older)
    error = refusal(models("qwen3"), tmp_path / "out", mode="mxfp8")

    assert (error.code, error.field) == ("invalid_params", "mode")
    assert "newer mlx" in error.message


@pytest.mark.parametrize(
    "options", [{}, {"bits": 8}, {"mixed": "mixed_3_6"}, {"dtype": "float16"}]
)
def test_quantized_weights_are_not_rounded_twice(
    models: Models, tmp_path: Path, options: dict[str, Any]
) -> None:
    error = refusal(models("qwen3", True), tmp_path / "out", **options)

    assert (error.code, error.field) == ("invalid_params", "source")
    assert "4 bits, groups of 32" in error.message
    assert "`dequantize`" in error.message


def test_a_recipe_that_does_not_fit_the_architecture_is_refused(tmp_path: Path) -> None:
    source = build("gpt2", tmp_path / "source")

    error = refusal(source, tmp_path / "out", mixed="mixed_3_6", group_size=32)

    assert (error.code, error.field) == ("invalid_params", "mixed")
    assert names_in(tmp_path) == ["source"]


@pytest.mark.parametrize(
    "place", ["itself", "below", "through a link", "exists", "a file", "a dangling link"]
)
def test_a_place_that_would_harm_what_is_there_is_refused(
    models: Models, tmp_path: Path, place: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(models("qwen3"), source)
    before = names_in(source)
    out = tmp_path / "out"
    make: dict[str, Callable[[], object]] = {
        "exists": out.mkdir,
        "a file": out.touch,
        "a dangling link": lambda: out.symlink_to("nowhere"),
        "through a link": lambda: (tmp_path / "link").symlink_to(source),
    }
    make.get(place, lambda: None)()
    places = {"itself": source, "below": source / "a/b", "through a link": tmp_path / "link/b"}

    error = refusal(source, places.get(place, out), bits=4)

    assert (error.code, error.field) == ("invalid_params", "out")
    assert names_in(source) == before


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(
    models: Models, tmp_path: Path, name: str
) -> None:
    error = refusal(models("qwen3"), f"{tmp_path}/{name}", bits=4)
    source = refusal(f"{tmp_path}/{name}", tmp_path / "out", bits=4)

    assert (error.code, error.field) == ("invalid_params", "out")
    assert source.code == "model_not_found"


def test_a_name_that_the_cache_lacks_is_one_to_pull(tmp_path: Path) -> None:
    error = refusal("owner/nowhere", tmp_path / "out", bits=4)

    assert error.code == "model_not_found"
    assert "mlxwire pull owner/nowhere" in error.message
    assert "--allow-hub" not in error.message


def test_a_file_in_the_place_of_a_folder_above_is_refused(
    models: Models, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    error = refusal(models("qwen3"), tmp_path / "file/out", bits=4)

    assert (error.code, error.field) == ("invalid_params", "out")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("pytorch_model.bin", "unsupported_model"), ("model.gguf", "unsupported_model")],
)
def test_weights_in_another_form_are_refused_by_name(
    models: Models, tmp_path: Path, name: str, code: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(models("qwen3"), source)
    (source / "model.safetensors").rename(source / name)

    error = refusal(source, tmp_path / "out", bits=4)

    assert error.code == code
    assert "mlx_lm.convert" not in error.message  # it reads none of them either
    assert "safetensors" in error.message


def test_a_model_that_is_code_is_not_run(models: Models, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(models("qwen3"), source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_file": "model.py"}))
    (source / "model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    error = refusal(source, tmp_path / "out")

    assert error.code == "unsupported_model"
    assert names_in(tmp_path) == ["source"]


def test_a_disk_without_the_room_is_refused_before(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        new_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000)
    )
    error = refusal(models("qwen3"), tmp_path / "deep/er/out", bits=4)

    assert error.code == "unavailable"
    assert error.data["free"] == 100_000 < error.data["needed"]
    assert names_in(tmp_path) == []


def test_a_machine_without_the_memory_is_refused_before(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "memory_bytes", lambda: 10_000)
    error = refusal(models("qwen3"), tmp_path / "out", bits=4)

    assert (error.code, error.data["available"]) == ("out_of_memory", 10_000)
    assert names_in(tmp_path) == []


def test_weights_that_are_not_finite_have_no_perplexity(models: Models, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(models("qwen3"), source)
    weights = mx.load(str(source / "model.safetensors"))
    assert isinstance(weights, dict)
    weights["model.norm.weight"] = mx.full(weights["model.norm.weight"].shape, float("nan"))
    mx.eval(weights)
    mx.save_safetensors(str(source / "model.safetensors"), weights)
    (tmp_path / "text").write_text("The weather in Paris")

    error = refusal(source, tmp_path / "out", text=tmp_path / "text")

    assert (error.code, error.data["reason"]) == ("model_load_failed", "not_finite")
    assert names_in(tmp_path) == ["source", "text"]
