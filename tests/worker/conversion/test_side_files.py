"""All that stands beside the weights stays, byte for byte; other weights and caches do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.conversion import converted, names_in
from support.model_worker import Models

KEPT = {
    "LICENSE": "the licence",
    "NOTICE.md": "a notice",
    "README.md": "a card",
    "merges.txt": "a b",
    "vocab.json": "{}",
    "tokenizer.model": "pieces",
    "preprocessor_config.json": "{}",
    "sentence_bert_config.json": "{}",
    "config_sentence_transformers.json": "{}",
    "tokenization_own.py": "raise SystemExit('this must not run')",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "2_Dense/config.json": "{}",
    "2_Dense/model.safetensors": "the weights of a module",
    "additional_chat_templates/tool_use.jinja": "{{ tools }}",
}
LEFT = {
    "pytorch_model.bin": "weights",
    "consolidated.safetensors": "weights",
    "pytorch_model.bin.index.json": "{}",
    "quantize_config.json": "{}",
    ".gitattributes": "*.bin lfs",
    "onnx/model.onnx": "weights",
    "original/params.json": "{}",
    ".cache/huggingface/x.lock": "",
}
MODULES = [
    {"idx": 0, "path": ""},
    {"idx": 1, "path": "1_Pooling"},
    {"idx": 2, "path": "2_Dense"},
    {"idx": 3, "path": "../outside"},
    {"idx": 4, "path": "3_Absent"},
    {"idx": 5, "path": 7},
]


@pytest.fixture
def source(models: Models, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    shutil.copytree(models("qwen3"), folder)
    for name, text in {**KEPT, **LEFT, "../outside/secret": "secret"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "modules.json").write_text(json.dumps(MODULES))
    return folder


def test_what_belongs_to_the_model_stays_and_other_weights_do_not(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    converted(source, out, bits=4, group_size=32)

    for name, text in KEPT.items():
        assert (out / name).read_text() == text
    for name in (
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
    ):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert not any((out / name).exists() for name in LEFT)
    assert not list(out.rglob("secret"))


def test_links_into_the_blobs_of_a_hub_cache_become_files(source: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "hub/blobs", tmp_path / "hub/snapshots/1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(each for each in source.iterdir() if each.is_file())):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")

    converted(snapshot, tmp_path / "out", bits=4, group_size=32)

    assert not any(file.is_symlink() for file in (tmp_path / "out").rglob("*"))
    assert (tmp_path / "out/LICENSE").read_text() == "the licence"


def test_a_list_of_modules_that_is_broken_ends_nothing(source: Path, tmp_path: Path) -> None:
    (source / "modules.json").write_text("[{")

    converted(source, tmp_path / "out", bits=4, group_size=32)

    assert (tmp_path / "out/modules.json").read_text() == "[{"
    assert "1_Pooling" not in names_in(tmp_path / "out")
