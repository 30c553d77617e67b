"""A folder that is broken in an odd way is told by itself, and hides no other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxwire_worker.mlx_engine.discovery import discovering
from support.skeletons import llama_shapes, write_model, write_snapshot

from .conftest import Find

LONG = "y" * 300
"""A name that no file can have."""


def _name_of_main(folder: Path, revision: bytes) -> None:
    (folder.parent.parent / "refs" / "main").write_bytes(revision)


def _pipe_as_main(folder: Path) -> None:
    main = folder.parent.parent / "refs" / "main"
    main.unlink()
    os.mkfifo(main)


@pytest.mark.parametrize(
    "damage",
    [
        _pipe_as_main,
        lambda folder: _name_of_main(folder, b".."),
        lambda folder: _name_of_main(folder, b"."),
        lambda folder: _name_of_main(folder, b"a\0b"),
        lambda folder: _name_of_main(folder, b"\xff"),
        lambda folder: _name_of_main(folder, LONG.encode()),
        lambda folder: _name_of_main(folder, b"a/b"),
    ],
)
def test_a_repository_whose_main_names_no_revision_is_told_by_its_newest(
    find: Find, hub: Path, damage: Callable[[Path], None]
) -> None:
    snapshot = write_snapshot(hub, "org/name", "abc")
    damage(snapshot)

    (found,) = find(hub=True)

    assert (found.name, found.path) == ("org/name", str(snapshot))
    assert found.described is not None
    assert found.described["revision"] == "abc"


def test_a_defect_in_the_description_of_a_folder_hides_no_other(
    find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / name)
    describe = discovering.describe

    def fails_once(*_: object) -> object:
        monkeypatch.setattr(discovering, "describe", describe)
        raise ZeroDivisionError

    monkeypatch.setattr(discovering, "describe", fails_once)
    first, second = find(tmp_path)

    assert first.error is not None
    assert first.error.code == "internal"
    assert second.error is None


@pytest.mark.parametrize("layer", ["9" * 5000, "9" * 30])
def test_a_layer_of_a_number_that_no_model_has_counts_for_none(
    find: Find, tmp_path: Path, layer: str
) -> None:
    shapes = {**llama_shapes(), f"model.layers.{layer}.x.weight": ("BF16", [4])}
    write_model(tmp_path / "model", shapes, num_hidden_layers=None)

    (found,) = find(tmp_path)

    assert found.described is not None
    assert found.described["layers"] == 2


def test_names_that_no_file_can_have_are_named_as_missing(find: Find, tmp_path: Path) -> None:
    index = write_model(tmp_path / "1 index")
    weight_map = {"weight_map": {"model.norm.weight": f"{LONG}.safetensors"}}
    (index / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    write_model(tmp_path / "2 type", model_type=LONG)
    modules = write_model(tmp_path / "3 modules")
    parts = [
        {"idx": 0, "path": "", "type": "a.Transformer"},
        {"idx": 1, "path": LONG, "type": "a.Pooling"},
    ]
    (modules / "modules.json").write_text(json.dumps(parts))

    index_error, type_error, mean = find(tmp_path)

    assert index_error.error is not None
    assert index_error.error.data["reason"] == "missing_shard"
    assert type_error.error is not None
    assert type_error.error.data["reason"] == "unknown_architecture"
    assert mean.described is not None
    assert mean.described["pooling"] == "mean"


def test_no_text_of_a_folder_makes_an_item_large(find: Find, tmp_path: Path) -> None:
    huge = "y" * (1 << 20)
    write_model(tmp_path / "architecture", architectures=[huge])
    index = write_model(tmp_path / "index")
    weight_map = {"weight_map": {"model.norm.weight": f"{huge}.safetensors"}}
    (index / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    twice = write_model(tmp_path / "twice", {huge: ("BF16", [1])})
    (twice / "model-2.safetensors").write_bytes((twice / "model.safetensors").read_bytes())

    architecture, missing, foreign = find(tmp_path)

    assert architecture.described is not None
    assert len(architecture.described["architecture"]) < 1000
    for broken in (missing, foreign):
        assert broken.error is not None
        assert len(json.dumps([broken.error.message, broken.error.data])) < 2000
