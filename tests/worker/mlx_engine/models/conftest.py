from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.model_worker import Models


@pytest.fixture
def copy(models: Models, tmp_path: Path) -> Path:
    """Return a copy of the Qwen 3 model's folder, which the test may change."""
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    return path
