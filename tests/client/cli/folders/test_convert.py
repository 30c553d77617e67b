"""`mlxwire convert`: what it writes and tells, its failures, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_lm import load

from support.model_worker import Models, ModelWorker
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

from ..conftest import COMMAND, Run, environment

Invoke = Callable[..., Any]


def test_a_quantized_model_is_written_and_answers(
    run: Run, models: Models, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    ended = run("convert", str(models("qwen3")), str(out), "--bits", "8", "--json")

    *reports, result = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, result["path"]) == (0, str(out))
    assert result["quantization"] == {"bits": 8, "group_size": 64, "mode": "affine"}
    assert {report["type"] for report in reports} == {"progress"}
    assert result["type"] == "result"
    assert {report["stage"] for report in reports} == {"check", "convert"}
    assert reports[-1]["done"] == reports[-1]["total"]
    assert reports[-1]["tensor"]
    assert f"mlxwire chat {out}" in ended.stderr
    load(str(out))
    with ModelWorker() as worker:
        assert worker.use(out).ask("info")["quant_bits"] == 8
        assert len(worker.generate("The weather", max_tokens=4, ignore_eos=True)[1]) == 4


def test_people_get_a_table_and_notes(run: Run, models: Models, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("The weather in Paris is fine.")
    options = ["--mixed", "mixed_3_6", "--text", str(tmp_path / "text")]

    ended = run("convert", str(models("qwen3")), str(tmp_path / "out"), *options)

    rows = dict(line.split(None, 1) for line in ended.stdout.splitlines())
    assert rows["path"] == str(tmp_path / "out")
    assert rows["quantization"].startswith("mixed_3_6: most have ")
    assert " before, " in rows["perplexity"]
    assert ended.stderr.startswith("converting ")


def test_quiet_says_nothing_on_stderr(invoke: Invoke, models: Models, tmp_path: Path) -> None:
    ended = invoke("convert", str(models("qwen3")), str(tmp_path / "out"), "--quiet")

    assert (ended.exit_code, ended.stderr) == (0, "")


def test_an_error_names_options_as_they_are_typed(
    invoke: Invoke, models: Models, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")

    wrong = invoke("convert", str(models("qwen3")), out, "--group-size", "48", "--json")
    twice = invoke("convert", str(models("qwen3", True)), out, "--bits", "4")
    text = invoke("convert", str(models("qwen3")), out, "--mixed", "dynamic")

    assert (wrong.exit_code, twice.exit_code, text.exit_code) == (1, 1, 1)
    assert "`--group-size` is 48" in wrong.stderr
    assert json.loads(wrong.stdout.splitlines()[-1])["error"]["data"]["field"] == "group_size"
    assert "add `--dequantize`" in twice.stderr
    assert "give `--text`" in text.stderr
    assert not Path(out).exists()


def test_ctrl_c_leaves_nothing_behind(models: Models, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("The weather in Paris is fine today. " * 20_000)
    arguments = [str(models("qwen3")), str(tmp_path / "out"), "--text", str(tmp_path / "text")]
    with subprocess.Popen(
        [*COMMAND, "convert", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    ) as command:
        assert command.stdout is not None
        while json.loads(command.stdout.readline())["stage"] != "perplexity before":
            pass
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=PATIENCE_SECONDS)

    assert command.returncode == 130
    assert "Traceback" not in stderr
    assert [file.name for file in tmp_path.iterdir()] == ["text"]
