"""A model folder that is exchanged between its check and its use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models.paths import PathPolicy
from support.model_worker import Models

from .hostile import Harm


def exchange_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    shutil.copytree(folder.with_name("moved"), folder)


def exchange_file(folder: Path) -> None:
    shutil.copy(folder / "config.json", folder / "new")
    (folder / "new").rename(folder / "config.json")


def exchange_and_restore(folder: Path) -> None:
    (folder / "config.json").rename(folder / "kept")
    (folder / "config.json").write_text("{}")
    (folder / "kept").rename(folder / "config.json")


@pytest.mark.parametrize(
    "exchange",
    [exchange_folder, exchange_file, exchange_and_restore, lambda p: (p / "x").touch()],
)
def test_a_folder_that_is_exchanged_while_it_is_read_is_refused(
    folder: Path, exchange: Harm
) -> None:
    paths = PathPolicy((), (), allow_hub=False)
    path = paths.model(str(folder))
    with paths.unchanged(path, None):
        pass

    with pytest.raises(WireError) as refused, paths.unchanged(path, None):
        exchange(folder)

    assert refused.value.code == "model_load_failed"
    assert refused.value.data["reason"] == "changed"


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_link_put_in_place_after_the_check_leads_nowhere(
    models: Models, tmp_path: Path, whole: bool
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for place in (root / "model", outside):
        shutil.copytree(models("qwen3"), place)
    paths = PathPolicy((str(root),), (), allow_hub=False)
    path = paths.model(str(root / "model"))
    name = "" if whole else "config.json"
    os.rename(path / name, tmp_path / "aside")
    os.symlink(outside / name, path / name)

    with pytest.raises(WireError) as refused, paths.unchanged(path, None):
        pytest.fail("it was read")

    assert refused.value.code == "model_not_found"
