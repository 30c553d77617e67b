from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.model_worker import Models, loaded, worker
from support.template_helper import helper

__all__ = ["helper", "loaded", "worker"]


@pytest.fixture
def folder(models: Models, tmp_path: Path) -> Path:
    """Return a copy of a model's folder that a test may spoil."""
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    return path
