from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxwire_worker.folders import FoundFolder
from mlxwire_worker.mlx_engine import MlxEngine

Find = Callable[..., list[FoundFolder]]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the hub's cache, which does not exist yet."""
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def find() -> Find:
    """Return a function that finds the models below folders."""

    def find(
        *paths: Path | str, hub: bool = False, full: bool = False, roots: tuple[str, ...] = ()
    ) -> list[FoundFolder]:
        engine = MlxEngine(model_roots=roots)
        found = engine.find_models([str(path) for path in paths], hub_cache=hub, full=full)
        return [each for each in found if each is not None]

    return find
