"""Nothing keeps the whole process waiting: pipes are refused where a file is due."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.model_worker import Models, ModelWorker


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "notes"]
)
def test_a_pipe_in_a_model_folder_is_refused_and_not_waited_for(
    worker: ModelWorker, models: Models, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models("qwen3"), folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    error = worker.refusal("load", path=str(folder))

    assert error["data"] == {"reason": "not_a_file", "file": name}


@pytest.mark.parametrize("action", ["save", "load"])
def test_a_pipe_is_no_file_for_a_prompt_cache(
    worker: ModelWorker, models: Models, tmp_path: Path, action: str
) -> None:
    os.mkfifo(tmp_path / "pipe")

    error = worker.use(models("qwen3")).refusal(
        "cache", action=action, path=str(tmp_path / "pipe")
    )

    assert error["data"]["field"] == "path"
