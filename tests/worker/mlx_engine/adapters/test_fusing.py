"""Fused models: they answer as the model with its adapter, and appear whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm import load
from mlx_lm.utils import dequantize_model, load_model

from factories import build_adapter, build_model, build_peft_adapter
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.adapters import fusing
from mlxwire_worker.mlx_engine.adapters.applying import apply_adapter
from mlxwire_worker.mlx_engine.adapters.fusing import fuse
from support.bare_models import IDS, modules_of
from support.conversion import converted, names_in
from support.model_worker import Models, ModelWorker
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT
from zoo.builder import build

from .test_reading import mlx_adapter

PROMPT = "The weather in Paris is"
PROGRAM = [sys.executable, "-P", "-m", f"{fusing.__package__}.fusing_program"]


def peft_adapter(model: Path, folder: Path, **options: Any) -> Path:
    """Write an adapter in PEFT's format for all query and value projections of a model."""
    modules = modules_of(load_model(model, lazy=True)[0])
    shapes = {
        path: (module.weight.shape[0], 64)
        for path, module in modules.items()
        if path.endswith(("q_proj", "v_proj"))
    }
    return build_peft_adapter(folder, shapes, alpha=60, **options)


@pytest.mark.parametrize("form", ["mlx", "peft", "dora"])
def test_a_fused_model_answers_as_the_model_with_its_adapter(
    worker: ModelWorker, models: Models, tmp_path: Path, form: str
) -> None:
    model = models("qwen3")
    if form == "mlx":
        adapter = build_adapter(model, tmp_path / "adapter")
    else:
        adapter = peft_adapter(model, tmp_path / "adapter", dora=form == "dora")
    plain = worker.use(model).generate(PROMPT, max_tokens=32)
    adapted = worker.use(model, adapter_path=str(adapter)).generate(PROMPT, max_tokens=32)

    told = fuse(model, adapter, tmp_path / "out", dequantize=False)

    assert worker.use(tmp_path / "out").generate(PROMPT, max_tokens=32) == adapted
    assert adapted != plain
    assert told["path"] == str(tmp_path / "out")
    assert (told["modules"], told["quantized"]) == (4 if form == "mlx" else 6, False)
    load(str(tmp_path / "out"))  # mlx-lm reads it, with its tokenizer


def weights_of(folder: Path, *, expanded: bool = False) -> dict[str, mx.array]:
    model = load_model(folder, lazy=True)[0]
    return dict(tree_flatten((dequantize_model(model) if expanded else model).parameters()))


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_a_quantized_model_stays_quantized_or_becomes_plain(
    models: Models, tmp_path: Path, dora: bool
) -> None:
    model = models("qwen3", True)
    adapter = peft_adapter(model, tmp_path / "adapter", dora=dora)
    adapted = load_model(model)[0]
    apply_adapter(adapted, adapter)

    plain = fuse(model, adapter, tmp_path / "plain", dequantize=True)
    stays = fuse(model, adapter, tmp_path / "stays", dequantize=False)

    assert (plain["quantized"], stays["quantized"]) == (False, True)
    configs = {
        name: json.loads((tmp_path / name / "config.json").read_text())
        for name in ("plain", "stays")
    }
    assert "quantization" not in configs["plain"]
    assert configs["stays"]["quantization"]["bits"] == 4
    expected = adapted(IDS)
    off = mx.abs(load_model(tmp_path / "plain")[0](IDS) - expected).max()
    assert (off < 1e-3 * mx.abs(expected).max()).item()
    rounded = weights_of(tmp_path / "stays", expanded=True)
    for name, weight in weights_of(tmp_path / "plain").items():
        error = mx.linalg.norm(rounded[name] - weight) / mx.linalg.norm(weight)
        assert error.item() < 0.15, name  # 4 bits round by a tenth


@pytest.mark.parametrize(
    "architecture",
    ["mixtral", "qwen3_vl", "gpt2", "granitemoehybrid", "mamba2", "deepseek_v3", "qwen3_5"],
)
def test_each_architecture_reads_its_fused_weights(tmp_path: Path, architecture: str) -> None:
    model = build(architecture, tmp_path / "model")
    adapter = mlx_adapter(tmp_path / "adapter", load_model(model)[0], "lora")
    adapted = load_model(model)[0]
    apply_adapter(adapted, adapter)

    fuse(model, adapter, tmp_path / "out", dequantize=False)

    expected = adapted(IDS)
    off = mx.abs(load_model(tmp_path / "out")[0](IDS) - expected).max()
    assert (off < 1e-3 * mx.abs(expected).max()).item()


def test_every_kind_of_quantized_matrix_becomes_plain(tmp_path: Path) -> None:
    source = build("deepseek_v3", tmp_path / "source")
    converted(source, tmp_path / "packed", mode="nvfp4")
    adapter = mlx_adapter(tmp_path / "adapter", load_model(tmp_path / "packed")[0], "lora")
    assert any(name.endswith("embed_q.scales") for name in weights_of(tmp_path / "packed"))

    told = fuse(tmp_path / "packed", adapter, tmp_path / "out", dequantize=True)

    assert told["quantized"] is False
    assert weights_of(tmp_path / "out").keys() == weights_of(source).keys()
    assert "quantization" not in json.loads((tmp_path / "out/config.json").read_text())


def test_the_dtype_of_the_weights_stays(tmp_path: Path) -> None:
    model = build_model("llama3", tmp_path / "model", dtype="bfloat16")
    adapter = peft_adapter(model, tmp_path / "adapter", dora=True)

    fuse(model, adapter, tmp_path / "out", dequantize=False)

    assert {array.dtype for array in weights_of(tmp_path / "out").values()} == {mx.bfloat16}


def test_the_tokenizer_and_the_template_are_copied_byte_for_byte(
    models: Models, tmp_path: Path
) -> None:
    model = models("qwen3")
    adapter = build_adapter(model, tmp_path / "adapter")

    fuse(model, adapter, tmp_path / "out", dequantize=False)

    names = {file.name for file in model.iterdir()} - {"config.json", "model.safetensors"}
    assert {"tokenizer.json", "tokenizer_config.json"} <= names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(models: Models, tmp_path: Path, kind: str) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")
    out = tmp_path / "out"
    make: dict[str, Callable[[], object]] = {
        "folder": out.mkdir,
        "file": out.touch,
        "dangling link": lambda: out.symlink_to("nowhere"),
    }
    make[kind]()

    with pytest.raises(WireError) as refused:
        fuse(models("qwen3"), adapter, out, dequantize=False)

    assert (refused.value.code, refused.value.field) == ("invalid_params", "out")
    assert names_in(tmp_path) == ["adapter", "out"]


def test_an_adapter_that_does_not_fit_leaves_nothing_behind(
    models: Models, tmp_path: Path
) -> None:
    foreign = build_adapter(models("gemma3"), tmp_path / "adapter", num_layers=4)

    with pytest.raises(WireError, match=r"another model|lacks"):
        fuse(models("qwen3"), foreign, tmp_path / "out", dequantize=False)

    assert names_in(tmp_path) == ["adapter"]


@pytest.mark.parametrize("place", ["weights", "others"])
def test_a_failed_write_leaves_nothing_behind(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        fusing, "write_weights" if place == "weights" else "copy_side_files", fail
    )
    with pytest.raises(WireError) as refused:
        fuse(models("qwen3"), adapter, tmp_path / "out", dequantize=False)

    assert refused.value.code == "unavailable"
    assert names_in(tmp_path) == ["adapter"]


def run(*arguments: str | Path, **options: Any) -> dict[str, Any]:
    """Run the program to its end, and return its event."""
    with subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        **options,
    ) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        assert process.wait(PATIENCE_SECONDS) == 0
    event: dict[str, Any] = json.loads(lines[-1])
    assert len(lines) == 1
    return event


def test_a_full_disk_leaves_nothing_behind(models: Models, tmp_path: Path) -> None:
    """MLX itself fails to write: the limit of a file's size stands for the disk."""
    model = models("qwen3")
    adapter = build_adapter(model, tmp_path / "adapter")
    limit = (model / "model.safetensors").stat().st_size // 2

    event = run(
        model,
        adapter,
        tmp_path / "out",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    assert (event["event"], event["code"]) == ("error", "unavailable"), event
    assert names_in(tmp_path) == ["adapter"]


def test_the_program_tells_its_result_and_its_errors_on_one_line(
    models: Models, tmp_path: Path
) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")

    first = run(models("qwen3"), adapter, tmp_path / "out")
    second = run(models("qwen3"), adapter, tmp_path / "out")
    third = run(models("qwen3"), tmp_path / "nowhere", tmp_path / "other")

    assert (first["event"], first["path"]) == ("result", str(tmp_path / "out"))
    assert (second["event"], second["code"]) == ("error", "invalid_params")
    assert (third["event"], third["code"]) == ("error", "model_not_found")


def test_the_program_ends_when_its_starter_is_gone(models: Models, tmp_path: Path) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")
    reader, writer = os.pipe()
    os.close(writer)

    process = subprocess.run(
        [*PROGRAM, str(models("qwen3")), str(adapter), str(tmp_path / "out")],
        stdin=reader,
        capture_output=True,
        cwd=ROOT,
        timeout=PATIENCE_SECONDS,
    )
    os.close(reader)

    assert process.returncode != 0
    assert names_in(tmp_path) == ["adapter"]
