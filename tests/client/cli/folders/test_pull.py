"""`mlxwire pull`: what it fetches and tells, its failures, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlxwire
import mlxwire.sync
from support.hub_server import COMMIT, TOKEN, Hub, folder_files, serving
from support.model_worker import Models, ModelWorker
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

from ..conftest import COMMAND, environment

Invoke = Callable[..., Any]
SNAPSHOT = f"hub/models--owner--name/snapshots/{COMMIT}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def test_a_pulled_model_is_one_that_a_worker_loads(
    invoke: Invoke, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(folder_files(models("qwen3")))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        told = invoke("pull", "owner/name")
        again = invoke("pull", "owner/name", "--json", "--quiet")

    rows = dict(line.split(None, 1) for line in told.stdout.splitlines())
    assert rows["path"] == str(tmp_path / SNAPSHOT)
    assert rows["fetched"].endswith(" MB")
    assert told.stderr.endswith("mlxwire chat owner/name\n")
    *reports, result = map(json.loads, again.stdout.splitlines())
    assert (result["type"], result["fetched"], again.stderr) == ("result", 0, "")
    assert {report["stage"] for report in reports} == {"look", "verify", "download"}
    converted = invoke("convert", "owner/name", str(tmp_path / "out"), "--bits", "4", "--json")
    assert json.loads(converted.stdout.splitlines()[-1])["path"] == str(tmp_path / "out")
    with ModelWorker() as worker:
        assert worker.load("owner/name")["path"] == str(tmp_path / SNAPSHOT)


async def test_a_program_pulls_too(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[mlxwire.Progress] = []
    with serving(Hub(folder_files(models("qwen3")), private=True)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(mlxwire.ModelNotFound) as missing:
            await mlxwire.pull("owner/name")
        found = await mlxwire.pull("owner/name", token=TOKEN, on_progress=heard.append)
        with pytest.raises(mlxwire.InvalidParams) as wrong:
            await mlxwire.pull("no name")

    size = sum(file.stat().st_size for file in models("qwen3").iterdir())
    assert (found.path, found.revision) == (str(tmp_path / SNAPSHOT), COMMIT)
    assert (found.files, found.fetched) == (len(list(models("qwen3").iterdir())), size)
    assert (heard[-1].stage, heard[-1].done) == ("download", heard[-1].total)
    assert "private" in missing.value.message
    assert wrong.value.field == "name"


def test_a_blocking_program_pulls_too(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(folder_files(models("qwen3")))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)

        assert mlxwire.sync.pull("owner/name", revision="v1").path == str(tmp_path / SNAPSHOT)


def test_a_failure_is_one_line_with_what_to_do(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub({}, gated=True)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        missing = invoke("pull", "owner/other")
        wrong = invoke("pull", "no name", "--json")

    assert (missing.exit_code, wrong.exit_code) == (1, 1)
    assert "error: model_not_found: " in missing.stderr
    assert "`NAME` is 'no name'" in wrong.stderr
    assert json.loads(wrong.stdout.splitlines()[-1])["error"]["code"] == "invalid_params"


def test_ctrl_c_keeps_what_has_arrived_and_says_so(tmp_path: Path) -> None:
    weights = bytes(4 << 20)
    with (
        serving(
            Hub({"model.safetensors": weights}, hold={"model.safetensors": 3 << 20})
        ) as hub,
        subprocess.Popen(
            [*COMMAND, "pull", "owner/name", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), "HF_ENDPOINT": hub.url},
            cwd=ROOT,
        ) as command,
    ):
        assert command.stdout is not None
        while json.loads(command.stdout.readline())["done"] < 2 << 20:
            pass
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=PATIENCE_SECONDS)

    assert command.returncode == 130
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert len(list(tmp_path.glob("hub/models--owner--name/blobs/*.incomplete"))) == 1
