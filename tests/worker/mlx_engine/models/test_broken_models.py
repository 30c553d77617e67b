"""A folder that is no sound model is refused with one typed error, and the old model serves on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from safetensors import safe_open

from factories import BROKEN, build_broken, build_model
from factories.damage import edit_config
from support.model_worker import Models, ModelWorker
from support.refusals import PROMPT, assert_refused

MODELOPT = "hf_quant_config.json"

# What each kind is told as: the code and `data.reason`.
REFUSALS = {
    "no_config": ("model_load_failed", "no_config"),
    "invalid_config_json": ("model_load_failed", "invalid_json"),
    "config_is_list": ("model_load_failed", "invalid_json"),
    "no_model_type": ("model_load_failed", "no_model_type"),
    "unknown_architecture": ("unsupported_model", "unknown_architecture"),
    "model_type_is_module_without_model": ("unsupported_model", "unknown_architecture"),
    "missing_config_field": ("model_load_failed", "incomplete_config"),
    "quantization_without_weights": ("model_load_failed", "quantization"),
    "quantization_without_bits": ("model_load_failed", "quantization"),
    "quant_method_fp8": ("model_load_failed", "quantization"),
    "missing_tokenizer": ("model_load_failed", "tokenizer"),
    "invalid_tokenizer_json": ("model_load_failed", "tokenizer"),
    "broken_chat_template": ("model_load_failed", "chat_template"),
    "no_weights": ("model_load_failed", "no_weights"),
    "pickle_weights": ("unsupported_model", "pickle_weights"),
    "missing_shard": ("model_load_failed", "missing_shard"),
    "phantom_shard": ("model_load_failed", "missing_shard"),
    "truncated_shard": ("model_load_failed", "damaged_shard"),
    "foreign_shard": ("model_load_failed", "weights_do_not_fit"),
    "stale_extra_shard": ("model_load_failed", "foreign_shard"),
    "shape_mismatch": ("model_load_failed", "weights_do_not_fit"),
    "huge_header": ("model_load_failed", "damaged_shard"),
    "negative_offsets": ("model_load_failed", "damaged_shard"),
    "overlapping_offsets": ("model_load_failed", "damaged_shard"),
}


def test_every_kind_of_damage_is_covered() -> None:
    assert REFUSALS.keys() == set(BROKEN)


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_broken_folder_is_one_typed_error_with_a_remedy(
    loaded: ModelWorker, tmp_path: Path, kind: str
) -> None:
    assert_refused(loaded, build_broken(kind, tmp_path), *REFUSALS[kind])


def damage(path: Path, file: str, text: str | bytes) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (path / file).write_bytes(content)


def misspell_rope(path: Path) -> None:
    edit_config(path, rope_scaling={"rope_type": "no such"})


def leave_an_older_file(path: Path) -> None:
    with safe_open(str(path / "model.safetensors"), framework="numpy") as file:
        names = list(file.keys())
    index = {"weight_map": dict.fromkeys(names, "model.safetensors")}
    damage(path, "model.safetensors.index.json", json.dumps(index))
    mx.save_safetensors(str(path / "model-old.safetensors"), {"old.weight": mx.ones((2,))})


def test_a_copy_of_the_weights_is_named_with_the_original(
    worker: ModelWorker, copy: Path
) -> None:
    shutil.copy(copy / "model.safetensors", copy / "model copy.safetensors")
    message = assert_refused(worker, copy, "model_load_failed", "foreign_shard")

    assert "model copy.safetensors" in message
    assert "model.safetensors" in message


def name_a_directory_as_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").unlink()
    (path / "tokenizer.json").mkdir()


FURTHER: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "config_is_not_utf8": (
        lambda path: damage(path, "config.json", b'{"model_type": "\xff"}'),
        "model_load_failed",
        "invalid_json",
    ),
    "config_is_deep": (
        lambda path: damage(path, "config.json", "[" * 100_000),
        "model_load_failed",
        "invalid_json",
    ),
    "config_is_a_folder": (
        lambda path: ((path / "config.json").unlink(), (path / "config.json").mkdir()),
        "model_load_failed",
        "unreadable",
    ),
    "model_type_is_a_list": (
        lambda path: edit_config(path, model_type=["qwen3"]),
        "model_load_failed",
        "no_model_type",
    ),
    "model_type_is_a_path": (
        lambda path: edit_config(path, model_type="../../evil"),
        "unsupported_model",
        "unknown_architecture",
    ),
    "model_file": (
        lambda path: edit_config(path, model_file="evil.py"),
        "unsupported_model",
        "remote_code",
    ),
    "layers_is_text": (
        lambda path: edit_config(path, num_hidden_layers="three"),
        "model_load_failed",
        "invalid_config",
    ),
    "heads_is_zero": (
        lambda path: edit_config(path, num_attention_heads=0),
        "model_load_failed",
        "invalid_config",
    ),
    "rope_is_unknown": (misspell_rope, "unsupported_model", "unsupported_setting"),
    "quantization_is_a_list": (
        lambda path: edit_config(path, quantization=[4]),
        "model_load_failed",
        "quantization",
    ),
    "quant_method_is_foreign": (
        lambda path: edit_config(path, quantization_config={"quant_method": "bitsandbytes"}),
        "unsupported_model",
        "quantization",
    ),
    "modelopt_settings_are_cut": (
        lambda path: damage(path, MODELOPT, "{"),
        "model_load_failed",
        "invalid_json",
    ),
    "modelopt_settings_without_method": (
        lambda path: damage(path, MODELOPT, '{"quantization": {"quant_algo": "NVFP4"}}'),
        "model_load_failed",
        "quantization",
    ),
    "modelopt_settings_of_fp8": (
        lambda path: damage(
            path,
            MODELOPT,
            '{"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}',
        ),
        "unsupported_model",
        "quantization",
    ),
    "tokenizer_is_a_folder": (
        name_a_directory_as_tokenizer,
        "model_load_failed",
        "tokenizer",
    ),
    "tokenizer_config_is_cut": (
        lambda path: damage(path, "tokenizer_config.json", "{"),
        "model_load_failed",
        "tokenizer",
    ),
    "tokenizer_config_is_not_utf8": (
        lambda path: damage(path, "tokenizer_config.json", b"\xff\xfe"),
        "model_load_failed",
        "tokenizer",
    ),
    "template_is_not_utf8": (
        lambda path: damage(path, "chat_template.jinja", b"\xff"),
        "model_load_failed",
        "chat_template",
    ),
    "older_file_left": (leave_an_older_file, "model_load_failed", "foreign_shard"),
    "index_is_a_list": (
        lambda path: damage(path, "model.safetensors.index.json", "[]"),
        "model_load_failed",
        "invalid_json",
    ),
    "index_without_map": (
        lambda path: damage(path, "model.safetensors.index.json", "{}"),
        "model_load_failed",
        "invalid_index",
    ),
    "weights_are_empty": (
        lambda path: damage(path, "model.safetensors", b""),
        "model_load_failed",
        "damaged_shard",
    ),
    "weights_are_text": (
        lambda path: damage(path, "model.safetensors", "version https://git-lfs\n" * 9),
        "model_load_failed",
        "damaged_shard",
    ),
}


@pytest.mark.parametrize("kind", FURTHER)
def test_other_damage_is_a_typed_error_too(
    loaded: ModelWorker, models: Models, tmp_path: Path, kind: str
) -> None:
    apply, code, reason = FURTHER[kind]
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    apply(path)

    assert_refused(loaded, path, code, reason)


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("/no/such/folder", "model_not_found", None),
        ("no-such-folder", "model_not_found", None),
        ("someone/some-model", "model_not_found", None),
        ("x" * 4096, "model_not_found", None),
        ("a\0b", "model_not_found", None),
        ("~no-such-user/model", "model_not_found", None),
    ],
)
def test_a_path_to_nothing_is_model_not_found(
    loaded: ModelWorker, name: str, code: str, reason: str | None
) -> None:
    assert_refused(loaded, name, code, reason)


def test_a_hub_name_says_how_the_host_could_allow_it(loaded: ModelWorker) -> None:
    message = assert_refused(loaded, "someone/some-model", "model_not_found", None)

    assert "--allow-hub" in message


def test_a_file_is_not_a_folder(loaded: ModelWorker, models: Models) -> None:
    file = models("qwen3") / "model.safetensors"

    assert_refused(loaded, file, "model_load_failed", "not_a_folder")


def test_an_empty_folder_is_no_model(loaded: ModelWorker, tmp_path: Path) -> None:
    assert_refused(loaded, tmp_path, "model_load_failed", "no_config")


def test_a_failed_first_load_leaves_a_worker_that_loads_the_next(
    tmp_path: Path,
) -> None:
    with ModelWorker() as fresh:
        fresh.refusal("load", path=str(build_broken("truncated_shard", tmp_path / "broken")))
        assert fresh.refusal("info")["code"] == "model_not_loaded"

        fresh.use(build_model("gemma3", tmp_path / "sound"))
        assert len(fresh.generate(PROMPT, max_tokens=3)[1]) == 3


def test_damaged_modelopt_settings_are_named(
    loaded: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    for text in ("{", '{"quantization": {"quant_algo": "NVFP4"}}'):
        damage(path, MODELOPT, text)

        error = loaded.refusal("load", path=str(path))

        assert error["data"]["file"] == MODELOPT
        assert MODELOPT in error["message"]


def test_modelopt_settings_that_mlx_lm_does_not_read_are_no_damage(
    loaded: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    damage(path, MODELOPT, "{}")

    loaded.use(path)
