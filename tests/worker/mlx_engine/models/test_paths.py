"""With --model-root a worker reads below those folders alone, however the path is dressed up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories import build_adapter
from support.model_worker import Models, ModelWorker


class Rooted(ModelWorker):
    """A worker confined to a folder, which holds `inside`; `outside` lies beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "root"
        super().__init__("--model-root", str(self.root), "--model-root", str(base / "second"))


@pytest.fixture(scope="module")
def rooted(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooted]:
    base = tmp_path_factory.mktemp("roots")
    for place in ("root/inside", "second/also", "outside", "root-beside"):
        shutil.copytree(models("qwen2"), base / place)
    build_adapter(base / "outside", base / "adapter")
    build_adapter(base / "outside", base / "root" / "adapter")
    (base / "root" / "link-out").symlink_to(base / "outside")
    (base / "root" / "link-in").symlink_to(base / "root" / "inside")
    (base / "outside-link").symlink_to(base / "root" / "inside")
    leaking = base / "root" / "leaking"
    shutil.copytree(models("qwen2"), leaking)
    (leaking / "model.safetensors").unlink()
    (leaking / "model.safetensors").symlink_to(base / "outside" / "model.safetensors")
    nested = base / "root" / "adapter-leaking"
    shutil.copytree(base / "root" / "adapter", nested)
    (nested / "adapters.safetensors").unlink()
    (nested / "adapters.safetensors").symlink_to(base / "adapter" / "adapters.safetensors")
    with Rooted(base) as confined:
        yield confined


@pytest.mark.parametrize(
    "place",
    ["root/inside", "root/link-in", "outside-link", "second/also", "root/../root/inside"],
)
def test_what_lies_below_a_root_is_loaded(rooted: Rooted, place: str) -> None:
    assert rooted.load(f"{rooted.base}/{place}")["ok"] is True


@pytest.mark.parametrize(
    "place",
    [
        "outside",
        "root/link-out",
        "root/../outside",
        "root/inside/../../outside",
        "root-beside",
        "root/leaking",
        "nowhere",
    ],
)
def test_what_lies_elsewhere_is_not_found(rooted: Rooted, place: str) -> None:
    error = rooted.refusal("load", path=f"{rooted.base}/{place}")

    assert error["code"] == "model_not_found"
    assert "--model-root" in error["message"]


@pytest.mark.parametrize("place", ["adapter", "root/adapter-leaking"])
def test_an_adapter_from_elsewhere_is_not_found(rooted: Rooted, place: str) -> None:
    error = rooted.refusal(
        "load", path=f"{rooted.root}/inside", adapter_path=f"{rooted.base}/{place}"
    )

    assert error["code"] == "model_not_found"


def test_an_adapter_below_a_root_is_loaded(rooted: Rooted) -> None:
    path = f"{rooted.root}/inside"

    assert rooted.load(path, adapter_path=f"{rooted.root}/adapter")["adapter_path"]


def test_a_relative_path_is_read_from_the_workers_own_folder(rooted: Rooted) -> None:
    assert rooted.refusal("load", path="root/inside")["code"] == "model_not_found"
