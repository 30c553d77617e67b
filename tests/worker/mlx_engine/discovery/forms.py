"""Writes sound models in many forms, each small enough to be loaded by a test."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

from factories.damage import edit_config
from factories.models import save_shards

QUANTIZED: dict[str, dict[str, Any]] = {
    **{f"affine {bits} bits": {"bits": bits, "group_size": 32} for bits in (2, 3, 4, 5, 6, 8)},
    "affine groups of 64": {"bits": 4, "group_size": 64},
    "mxfp4": {"bits": 4, "group_size": 32, "mode": "mxfp4"},
    "mxfp8": {"bits": 8, "group_size": 32, "mode": "mxfp8"},
    "nvfp4": {"bits": 4, "group_size": 16, "mode": "nvfp4"},
}


def write_quantized(source: Path, folder: Path, **settings: Any) -> Path:
    """Write a model quantized by mlx-lm."""
    shutil.copytree(source, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        model, config = load_model(source)
        model, config = quantize_model(model, config, **settings)
    for file in folder.glob("model*"):
        file.unlink()
    save_model(folder, model)
    save_config(config, folder / "config.json")
    return folder


def write_mixed(source: Path, folder: Path) -> Path:
    """Write a model with 4 bits, and with 8 bits and other groups in some layers."""

    def recipe(path: str, _: Any) -> bool | dict[str, Any]:
        if "down_proj" in path or "v_proj" in path:
            return {"bits": 8, "group_size": 64}
        return "norm" not in path

    return write_quantized(
        source, folder, bits=4, group_size=32, mode="affine", quant_predicate=recipe
    )


def write_without_overrides(source: Path, folder: Path) -> Path:
    """Write a model with two forms whose config names the rarer one alone."""
    write_mixed(source, folder)
    plain = {"group_size": 64, "bits": 8, "mode": "affine"}
    edit_config(folder, quantization=plain, quantization_config=plain)
    return folder


def write_narrow(source: Path, folder: Path) -> Path:
    """Write a model in bfloat16, in three files."""
    shutil.copytree(source, folder)
    weights = mx.load(str(folder / "model.safetensors"))
    assert isinstance(weights, dict)
    (folder / "model.safetensors").unlink()
    save_shards(folder, {name: a.astype(mx.bfloat16) for name, a in weights.items()}, 3)
    return folder


def write_with_head(source: Path, folder: Path) -> Path:
    """Write a model with the head that mlx-lm drops, since it is the embedding."""
    shutil.copytree(source, folder)
    file = str(folder / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    mx.eval(weights)
    mx.save_safetensors(file, weights)
    return folder


def write_template_file(source: Path, folder: Path) -> Path:
    """Write a model whose template is in a file of its own."""
    shutil.copytree(source, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    (folder / "chat_template.jinja").write_text(settings.pop("chat_template"))
    file.write_text(json.dumps(settings))
    return folder


def write_trunk(source: Path, folder: Path) -> Path:
    """Write the trunk of a model without a head, as models for embeddings are published."""
    shutil.copytree(source, folder)
    file = str(folder / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    mx.save_safetensors(file, {n.removeprefix("model."): each for n, each in weights.items()})
    edit_config(folder, architectures=["Qwen3Model"], tie_word_embeddings=False)
    return folder


FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "mixed": write_mixed,
    "mixed without overrides": write_without_overrides,
    "narrow in three files": write_narrow,
    "with a tied head": write_with_head,
    "a trunk for vectors": write_trunk,
    "with a template's file": write_template_file,
}
