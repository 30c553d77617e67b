"""The weight files that belong to a checkpoint are read, and numbers that are none are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from factories import build_model
from factories.damage import edit_config
from support.model_worker import Models, ModelWorker
from support.refusals import PROMPT, assert_refused

TOKENS = 6


def answer(worker: ModelWorker, path: Path) -> list[int]:
    _, ids = worker.use(path).generate(PROMPT, max_tokens=TOKENS, ignore_eos=True)
    return ids


def read_weights(path: Path) -> dict[str, mx.array]:
    weights = mx.load(str(path / "model.safetensors"))
    assert isinstance(weights, dict)
    return weights


def edit_weights(path: Path, edit: Callable[[dict[str, mx.array]], object]) -> None:
    file = str(path / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    edit(weights)
    mx.eval(weights)
    mx.save_safetensors(file, weights)


def write_index(path: Path, moved: dict[str, str]) -> None:
    weights = read_weights(path)
    weight_map = dict.fromkeys(weights, "model.safetensors") | moved
    index = {"weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["Qwen [4bit]", "modèle 模型", "a*b?c", " spaced "])
def test_a_folder_of_any_name_is_read(
    worker: ModelWorker, models: Models, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    shutil.copytree(models("qwen3"), path)

    assert answer(worker, path) == answer(worker, models("qwen3"))


def test_a_read_only_folder_of_links_is_read(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    shutil.copytree(models("qwen3"), blobs)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    snapshot.chmod(0o555)

    try:
        assert answer(worker, snapshot) == answer(worker, models("qwen3"))
    finally:
        snapshot.chmod(0o755)


@pytest.mark.parametrize(
    ("file", "indexed"), [("mtp.safetensors", True), ("model-mtp.safetensors", False)]
)
def test_a_file_of_further_token_layers_is_left_out(
    worker: ModelWorker, models: Models, copy: Path, file: str, indexed: bool
) -> None:
    tensor = "mtp.layers.0.weight"
    mx.save_safetensors(str(copy / file), {tensor: mx.ones((2, 2))})
    write_index(copy, {tensor: file} if indexed else {})

    assert answer(worker, copy) == answer(worker, models("qwen3"))


def test_a_file_that_only_the_index_names_is_read(
    worker: ModelWorker, models: Models, copy: Path
) -> None:
    norm = "model.norm.weight"
    weights = read_weights(copy)
    tensors = {norm: mx.array(np.array(weights[norm]))}
    edit_weights(copy, lambda weights: weights.pop(norm))
    mx.save_safetensors(str(copy / "last.safetensors"), tensors)
    write_index(copy, {norm: "last.safetensors"})

    assert answer(worker, copy) == answer(worker, models("qwen3"))


def test_an_index_can_not_name_a_file_outside_the_folder(
    loaded: ModelWorker, copy: Path
) -> None:
    mx.save_safetensors(str(copy.parent / "out.safetensors"), {"x": mx.ones((2,))})
    write_index(copy, {"x": "../out.safetensors"})

    assert_refused(loaded, copy, "model_load_failed", "missing_shard")


def test_weights_in_another_form_are_named(loaded: ModelWorker, copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-Q4_K_M.gguf")

    assert "GGUF" in assert_refused(loaded, copy, "unsupported_model", "weight_format")


def test_a_pointer_of_git_lfs_is_named(loaded: ModelWorker, copy: Path) -> None:
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)

    message = assert_refused(loaded, copy, "model_load_failed", "damaged_shard")

    assert "Git LFS" in message


def test_a_link_to_nothing_is_named(loaded: ModelWorker, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to("gone")

    message = assert_refused(loaded, copy, "model_load_failed", "damaged_shard")

    assert "link" in message


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32])
def test_integers_in_place_of_weights_are_refused(
    loaded: ModelWorker, copy: Path, kind: type
) -> None:
    weights = read_weights(copy)
    arrays = {name: np.array(array) for name, array in weights.items()}
    name = "model.layers.0.mlp.up_proj.weight"
    arrays[name] = arrays[name].astype(kind)
    save_file(arrays, str(copy / "model.safetensors"))

    message = assert_refused(loaded, copy, "model_load_failed", "weights_do_not_fit")

    assert name in message


def poison(value: float, name: str) -> Callable[[dict[str, mx.array]], None]:
    def edit(weights: dict[str, mx.array]) -> None:
        weights[name] = mx.full(weights[name].shape, value, weights[name].dtype)

    return edit


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (float("nan"), "model.layers.1.mlp.down_proj.weight"),
        (float("inf"), "model.norm.weight"),
        (0.0, "model.norm.weight"),
    ],
)
def test_a_model_that_computes_no_numbers_is_refused(
    worker: ModelWorker, copy: Path, value: float, name: str
) -> None:
    edit_weights(copy, poison(value, name))

    error = worker.refusal("load", path=str(copy))
    worker._loaded = ()  # the old model was dropped before the weights were read

    assert (error["code"], error["data"]["reason"]) == ("model_load_failed", "damaged_weights")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 32},
        {"quant_method": "awq", "bits": 8, "group_size": 32},
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"},
        {"quant_method": "auto-round", "bits": 4},
        {"quant_method": "hqq"},
    ],
    ids=str,
)
def test_a_form_of_quantization_that_would_be_misread_is_refused(
    loaded: ModelWorker, copy: Path, settings: dict[str, object]
) -> None:
    edit_config(copy, quantization_config=settings)
    edit_weights(copy, lambda weights: weights.update({"x.scales": mx.ones((2,))}))

    message = assert_refused(loaded, copy, "unsupported_model", "quantization")

    assert str(settings["quant_method"]) in message


@pytest.mark.parametrize(
    ("settings", "tensor"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "weight_scale_inv"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "weight_scale"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "weight_scale"),
    ],
    ids=str,
)
def test_quantization_that_the_architecture_can_not_undo_is_unsupported(
    loaded: ModelWorker, copy: Path, settings: dict[str, object], tensor: str
) -> None:
    edit_config(copy, quantization_config=settings)
    name = f"model.layers.0.mlp.up_proj.{tensor}"
    edit_weights(copy, lambda weights: weights.update({name: mx.ones((1, 1))}))

    message = assert_refused(loaded, copy, "unsupported_model", "quantization")

    assert str(settings["quant_method"]) in message


def test_weights_of_awq_are_read_in_their_order(worker: ModelWorker, tmp_path: Path) -> None:
    plain = build_model("qwen3", tmp_path / "plain")
    packed = tmp_path / "packed"
    shutil.copytree(plain, packed)
    plain_weights, packed_weights = read_weights(plain), read_weights(plain)
    names = [name for name in plain_weights if "_proj." in name]
    for name in names:
        stem = name.removesuffix(".weight")
        values = np.array(plain_weights[name].astype(mx.float32)).T  # [in, out]
        tensors, restored = pack_awq(values)
        plain_weights[name] = mx.array(restored.T)
        del packed_weights[name]
        packed_weights |= {f"{stem}.{key}": mx.array(array) for key, array in tensors.items()}
    mx.eval(plain_weights, packed_weights)  # they are read from the files that are replaced
    mx.save_safetensors(str(plain / "model.safetensors"), plain_weights)
    mx.save_safetensors(str(packed / "model.safetensors"), packed_weights)
    edit_config(
        packed,
        quantization_config={
            "quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True,
        },
    )  # fmt: skip

    assert answer(worker, packed) == answer(worker, plain)


def pack_awq(values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Quantize [in, out] as AutoAWQ stores it, and return the values that it stands for."""
    rows, columns = values.shape
    groups = values.reshape(rows // 32, 32, columns)
    low, high = groups.min(1), groups.max(1)
    scales = (high - low) / 15
    zeros = np.clip(np.round(-low / scales), 0, 15)
    q = np.clip(np.round(groups / scales[:, None]) + zeros[:, None], 0, 15)
    restored = ((q - zeros[:, None]) * scales[:, None]).reshape(rows, columns)
    tensors = {
        "qweight": interleave(q.reshape(rows, columns)),
        "qzeros": interleave(zeros),
        "scales": scales.astype(np.float32),
    }
    return tensors, restored.astype(np.float32)


def interleave(values: np.ndarray) -> np.ndarray:
    """Pack eight 4-bit numbers of a row into an int32, in AutoAWQ's order."""
    eights = values.astype(np.uint32).reshape(values.shape[0], -1, 8)
    packed = np.zeros(eights.shape[:2], np.uint32)
    for place, column in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
        packed |= eights[:, :, column] << np.uint32(4 * place)
    return packed.view(np.int32)
