from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.model_worker import Models, ModelWorker, models, worker

__all__ = ["models", "worker"]


@pytest.fixture
def folder(models: Models, tmp_path: Path) -> Path:
    """A model's folder, to be spoiled."""
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    return path


@pytest.fixture
def loaded(worker: ModelWorker, models: Models) -> ModelWorker:
    """A worker with a sound model."""
    return worker.use(models("qwen3"))
