"""The hub's local cache: each repository once, by its name, and found by a load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.discovery.hub_cache import cache_folder
from mlxwire_worker.mlx_engine.models.paths import PathPolicy
from support.skeletons import write_model, write_snapshot

from .conftest import Find


def test_each_repository_is_told_once_by_the_revision_of_main(
    find: Find, hub: Path, tmp_path: Path
) -> None:
    older = write_snapshot(hub, "org/two", "aaa", main=False)
    newer = write_snapshot(hub, "org/two", "bbb", main=False)
    os.utime(older, (1, 1))
    main = write_snapshot(hub, "org/one", "ccc")
    write_snapshot(hub, "org/one", "ddd", main=False)
    alone = write_snapshot(hub, "gpt2", "eee")
    write_model(hub / "datasets--org--data" / "snapshots" / "f")
    (hub / "models--org--none" / "snapshots").mkdir(parents=True)
    (hub / ".locks" / "models--org--one").mkdir(parents=True)

    for found in (find(hub=True), find(hub), find(tmp_path), find(hub, hub=True)):
        assert [(each.name, each.path) for each in found] == [
            ("gpt2", str(alone)),
            ("org/one", str(main)),
            ("org/two", str(newer)),
        ]
        assert [each.described and each.described["revision"] for each in found] == [
            "eee",
            "ccc",
            "bbb",
        ]
        assert found[1].described is not None
        assert found[1].described["repository"] == "org/one"


def test_a_repository_or_a_snapshot_may_be_given(find: Find, tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "cache", "org/name", "abc")

    for given in (snapshot, snapshot.parent, snapshot.parent.parent):
        (found,) = find(given)
        assert (found.name, found.path) == ("org/name", str(snapshot))


def test_an_interrupted_download_is_broken_with_its_reason(find: Find, hub: Path) -> None:
    linkless = write_snapshot(hub, "org/a", "r", files=2)
    (linkless / "model-00001-of-00002.safetensors").unlink()
    (hub / "models--org--a" / "blobs" / "abc.incomplete").write_bytes(b"x")
    blobless = write_snapshot(hub, "org/b", "r")
    (blobless / "model.safetensors").resolve().unlink()
    weightless = write_snapshot(hub, "org/c", "r")
    (weightless / "model.safetensors").unlink()

    only_config = write_snapshot(hub, "org/d", "r")
    for file in ("model.safetensors", "tokenizer.json"):
        (only_config / file).unlink()

    found = find(hub=True)

    assert [each.error and each.error.data["reason"] for each in found] == [
        "missing_shard",
        "damaged_shard",
        "no_weights",
        "tokenizer",
    ]
    assert "a link to a file that is not there" in str(found[1].error)


def test_the_cache_of_the_environment_is_read_in_the_hubs_own_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert cache_folder() == tmp_path / "home" / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"


def test_a_load_finds_a_hub_name_in_the_cache_without_a_network(hub: Path) -> None:
    snapshot = write_snapshot(hub, "org/name", "abc")
    policy = PathPolicy((), (), allow_hub=False)

    assert policy.model("org/name") == snapshot
    with pytest.raises(WireError) as missing:
        policy.model("org/other")
    assert missing.value.code == "model_not_found"
    assert "mlxwire pull org/other" in missing.value.message


def test_a_folder_of_this_name_comes_before_the_hubs(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_snapshot(hub, "org/name", "abc")
    own = write_model(tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)

    assert PathPolicy((), (), allow_hub=False).model("org/name") == own


def test_a_cache_outside_the_roots_is_neither_told_nor_loaded(
    find: Find, hub: Path, tmp_path: Path
) -> None:
    write_snapshot(hub, "org/name", "abc")
    root = tmp_path / "models"
    root.mkdir()

    assert find(hub=True, roots=(str(root),)) == []
    with pytest.raises(WireError) as refused:
        PathPolicy((str(root),), (), allow_hub=False).model("org/name")
    assert "--model-root" in refused.value.message
    snapshots = PathPolicy((str(hub),), (), allow_hub=False)
    assert snapshots.model("org/name").name == "abc"
