"""`mlxwire adapter fuse`: the worker's program behind it, and its failures as exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factories import build_adapter
from support.model_worker import Models, ModelWorker

from ..conftest import Run


def test_a_fused_model_is_written_and_answers(run: Run, models: Models, tmp_path: Path) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")
    out = tmp_path / "out"

    ended = run("adapter", "fuse", str(models("qwen3")), str(adapter), str(out), "--json")

    told = json.loads(ended.stdout)
    assert (ended.returncode, told["path"], told["modules"]) == (0, str(out), 4)
    with ModelWorker() as worker:
        adapted = worker.use(models("qwen3"), adapter_path=str(adapter))
        expected = adapted.generate("The weather", max_tokens=8)
        assert worker.use(out).generate("The weather", max_tokens=8) == expected


def test_a_folder_that_exists_is_refused(run: Run, models: Models, tmp_path: Path) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")

    ended = run("adapter", "fuse", str(models("qwen3")), str(adapter), str(adapter), "--json")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: invalid_params: ")
    assert json.loads(ended.stdout)["error"]["data"]["field"] == "out"


def test_an_interpreter_that_is_not_there_is_spawn_failed(
    invoke: Callable[..., Any], tmp_path: Path
) -> None:
    missing = tmp_path / "python"

    ended = invoke("adapter", "fuse", "m", "a", "o", worker=f"{missing} -m mlxwire_worker")

    assert ended.exit_code == 1
    assert "spawn_failed" in ended.stderr
    assert str(missing) in ended.stderr
