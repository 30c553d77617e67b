"""Nothing keeps the whole process waiting: pipes are refused, long work holds no lock."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from factories import build_model
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


def test_a_prompt_of_megabytes_keeps_nobody_from_being_heard(
    worker: ModelWorker, tmp_path: Path
) -> None:
    # Its context takes all of the prompt: one that can't fit is refused before it is encoded.
    worker.use(build_model("qwen3", tmp_path, config={"max_position_embeddings": 10**7}))
    long = worker.send("generate", prompt="word " * 1_000_000)
    started = time.perf_counter()
    worker.ask("metrics")
    heard = time.perf_counter() - started
    worker.until(lambda message: message.get("stage") == "prefill", long)
    encoded = time.perf_counter() - started
    worker.send("cancel", target=long)

    assert worker.final(long)["stage"] == "prefill"
    assert heard < encoded / 2, f"{heard:.3f} s of {encoded:.3f} s"
