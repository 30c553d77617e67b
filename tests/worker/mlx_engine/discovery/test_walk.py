"""The walk finds every model once, and passes over all other folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.mlx_engine.discovery.finding import DEEPEST
from support.skeletons import llama_shapes, write_model, write_weights

from .conftest import Find


def names(found: object) -> list[str]:
    return [each.name for each in found]  # type: ignore[attr-defined]


def test_models_are_told_in_order_with_absolute_paths(
    find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a", "deep/er/c"):
        write_model(tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path)
    found = find("models")

    assert names(found) == ["a", "b", "c"]
    assert [Path(each.path) for each in found] == [
        tmp_path / "models" / name for name in ("a", "b", "deep/er/c")
    ]
    assert all(each.error is None for each in found)


def test_a_given_folder_may_be_a_model_itself_with_one_below(
    find: Find, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model")
    write_model(model / "4bit")

    assert names(find(model)) == ["model", "4bit"]


def test_a_folder_given_twice_and_through_links_is_told_once(
    find: Find, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "models" / "model")
    (tmp_path / "models" / "link").symlink_to(model)
    (model / "around").symlink_to(tmp_path / "models")
    (model / "loop").symlink_to("loop")

    found = find(tmp_path / "models", tmp_path / "models" / "link", model)

    assert [each.path for each in found] == [str(model)]
    assert found[0].name == "model"


def test_the_depth_below_a_given_folder_is_bounded(find: Find, tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * DEEPEST)
    write_model(deepest)
    write_model(deepest / "deeper")

    assert [each.path for each in find(tmp_path)] == [str(deepest)]


def test_hidden_folders_are_passed_over_unless_given(find: Find, tmp_path: Path) -> None:
    hidden = write_model(tmp_path / ".hidden" / "model")

    assert find(tmp_path) == []
    assert names(find(hidden.parent)) == ["model"]


def test_a_path_that_is_no_folder_is_told_with_the_error_of_a_load(
    find: Find, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    write_model(tmp_path / "model")
    missing, no_folder, model = find(tmp_path / "no", file, tmp_path)

    assert missing.error is not None
    assert missing.error.code == "model_not_found"
    assert no_folder.error is not None
    assert no_folder.error.data["reason"] == "not_a_folder"
    assert (missing.path, no_folder.path) == (str(tmp_path / "no"), str(file))
    assert model.name == "model"


def test_a_folder_that_can_not_be_read_ends_nothing(
    find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = write_model(tmp_path / "a")
    write_model(tmp_path / "z")
    listed = os.scandir

    def scandir(path: str) -> Any:
        if path == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert names(find(tmp_path)) == ["z"]


def remove(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).unlink()


def test_what_is_plainly_a_model_and_lacks_a_part_is_told(find: Find, tmp_path: Path) -> None:
    remove(write_model(tmp_path / "1 no weights"), "model.safetensors")
    remove(write_model(tmp_path / "2 no config"), "config.json")
    remove(write_model(tmp_path / "3 no shard", files=2), "model-00002-of-00002.safetensors")
    remove(write_model(tmp_path / "4 no tokenizer"), "tokenizer.json")
    for number, file in ((5, "pytorch_model.bin"), (6, "model.gguf"), (7, "weights.npz")):
        folder = write_model(tmp_path / f"{number} other form")
        (folder / "model.safetensors").rename(folder / file)
    remove(write_model(tmp_path / "8 no index's file"), "model.safetensors", "tokenizer.json")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "8 no index's file" / "model.safetensors.index.json").write_text(
        json.dumps(index)
    )

    told = {each.name[0]: each.error for each in find(tmp_path)}

    assert {name: error.data["reason"] if error else None for name, error in told.items()} == {
        "1": "no_weights",
        "2": "no_config",
        "3": "missing_shard",
        "4": "tokenizer",
        "5": "pickle_weights",
        "6": "weight_format",
        "7": "weight_format",
        "8": "tokenizer",
    }


def test_what_is_no_model_is_passed_over(find: Find, tmp_path: Path) -> None:
    shapes = llama_shapes()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    write_weights(adapter / "adapter_model.safetensors", shapes)
    (adapter / "tokenizer.json").write_text("{}")
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    alone = tmp_path / "alone"
    alone.mkdir()
    write_weights(alone / "lora.safetensors", shapes)
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "config.json").write_text("{}")
    embedding = write_model(tmp_path / "embedding")
    (embedding / "modules.json").write_text("[]")
    (embedding / "1_Pooling").mkdir()
    (embedding / "1_Pooling" / "config.json").write_text("{}")
    shutil.copytree(write_model(tmp_path / "2_Dense"), embedding / "2_Dense")
    shutil.rmtree(tmp_path / "2_Dense")

    assert names(find(tmp_path)) == ["embedding"]


def test_folders_outside_the_roots_are_not_told(find: Find, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write_model(inside / "model")
    other = write_model(outside / "other")
    (inside / "link").symlink_to(other)
    linked = write_model(inside / "files")
    (linked / "model.safetensors").unlink()
    (linked / "model.safetensors").symlink_to(other / "model.safetensors")

    found = find(inside, outside, roots=(str(inside),))

    assert names(found) == ["files", "model", "outside"]
    assert [each.error and each.error.code for each in found] == [
        "model_not_found",
        None,
        "model_not_found",
    ]


def test_a_link_out_of_the_roots_is_not_followed(find: Find, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    hidden = write_model(inside / ".hidden" / "model")
    outside.mkdir()
    (outside / "back").symlink_to(hidden)
    (inside / "link").symlink_to(outside)

    assert names(find(inside)) == ["model"]
    assert names(find(inside, roots=(str(inside),))) == []
