"""`mlxwire train` and `mlxwire evaluate`, over a worker that trains by a script."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from enum import StrEnum
from typing import get_args, get_type_hints

import msgspec
import pytest

from mlxwire.cli.training.options import Learning, Reading
from mlxwire.cli.training.train import advice
from mlxwire_protocol.training.requests import Evaluate, Train
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

from .conftest import COMMAND, environment

SCRIPT = ROOT / "tests" / "support" / "scripted_worker.py"


def trains(*behaviour: str) -> str:
    """Return the command of a worker that trains by a script."""
    return " ".join([sys.executable, "-I", "-S", str(SCRIPT), "trains", *behaviour])


def test_a_training_tells_its_result_and_plots_its_loss(invoke, tmp_path):
    done = invoke("train", "m", "d", "--out", str(tmp_path), worker=trains("4"))
    assert done.exit_code == 0
    assert "loss         3.0000 at first, 2.0000 at last\n" in done.stdout
    assert "1 cut off" in done.stdout
    assert "step 4 of 4: loss 2.0000 · validation 2.5000" in done.stderr
    assert (tmp_path / "loss.svg").read_text().startswith("<svg")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_a_line_for_each_report_and_then_the_result(invoke, tmp_path):
    out = str(tmp_path)
    done = invoke("train", "m", "d", "--out", out, "--json", "-q", worker=trains("2"))
    first, second, result = map(json.loads, done.stdout.splitlines())
    assert (first["type"], first["step"], first["loss"]) == ("progress", 1, 2.5)
    assert (second["step"], second["validation_loss"]) == (2, 2.5)
    assert (result["type"], result["adapter"], result["steps"]) == ("result", out, 2)
    assert done.stderr == ""


def test_the_options_reach_the_worker_as_they_were_given(invoke, tmp_path):
    options = ["--method", "dora", "--format", "peft", "--evaluate-every", "0", "--json"]
    done = invoke("train", "m", "d", "--out", str(tmp_path), *options, worker=trains("1"))
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["method"], result["format"]) == ("dora", "peft")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"validation": "0.25"}, {"validation": 0.25}),
        ({"validation": "more.jsonl"}, {"validation": "more.jsonl"}),
        ({"evaluate_every": 0, "resume": True}, {"evaluate_every": 0, "resume": True}),
        ({"keys": ["q_proj"], "dropout": 0.0}, {"keys": ["q_proj"], "dropout": 0.0}),
    ],
    ids=str,
)
def test_only_what_was_given_is_sent_and_a_share_is_a_number(given, sent):
    assert Learning(**given).learning() == sent


def test_every_option_of_the_wire_is_an_option_of_the_command():
    of_the_wire = {*Train.__struct_fields__} - {"id", "data", "out", "load_as"}
    assert {*Learning.__dataclass_fields__, *Reading.__dataclass_fields__} == of_the_wire
    assert {*Reading.__dataclass_fields__} <= {*Evaluate.__struct_fields__}


def test_a_failed_training_is_one_line_and_a_code(invoke, tmp_path):
    done = invoke("train", "m", "d", "--out", str(tmp_path), worker=trains("2", "fails"))
    assert done.exit_code == 1
    assert "error: training_failed: the loss is NaN at step 2" in done.stderr
    with_json = ["--json", "-q"]
    done = invoke(
        "train", "m", "d", "--out", str(tmp_path), *with_json, worker=trains("2", "fails")
    )
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (error["code"], error["data"]["step"]) == ("training_failed", 2)


@pytest.mark.parametrize("option", [["--rank", "0"], ["--method", "qlora"], []], ids=str)
def test_wrong_usage_is_refused_before_a_worker_starts(invoke, option, tmp_path):
    out = ["--out", str(tmp_path)] if option else []
    assert invoke("train", "m", "d", *out, *option, worker="false").exit_code == 2


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    words = ["train", "m", "d", "--out", str(tmp_path), "--json"]
    command = subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(trains("2", "endless")),
        cwd=ROOT,
    )
    assert command.stdout is not None
    for step in (1, 2):
        assert json.loads(command.stdout.readline())["step"] == step
    command.send_signal(signal.SIGINT)
    stdout, stderr = command.communicate(timeout=PATIENCE_SECONDS)
    saved = f"{tmp_path}/checkpoints/2"
    assert command.returncode == 130
    assert json.loads(stdout)["error"]["data"]["checkpoint"] == saved
    assert f"its state is in {saved}. To go on:\n" in stderr
    assert stderr.endswith("--json --resume\n")
    assert (tmp_path / "loss.png").exists()


def test_the_advice_names_resume_once():
    command = ["/bin/mlxwire", "train", "m", "my data", "--resume"]
    assert advice("c/2", command).endswith("\nmlxwire train m 'my data' --resume")
    assert "first checkpoint" in advice(None, command)


def test_a_plot_that_cannot_be_written_does_not_lose_the_result(invoke, tmp_path):
    done = invoke("train", "m", "d", "--out", str(tmp_path / "no"), worker=trains("2"))
    assert done.exit_code == 0
    assert "adapter" in done.stdout
    assert "the plot of the loss could not be written: No such file" in done.stderr


def test_evaluate_shows_loss_and_perplexity(invoke):
    done = invoke("evaluate", "m", "d", worker=trains("1"))
    assert (done.exit_code, "perplexity  2.7180\n" in done.stdout) == (0, True)
    figures = json.loads(invoke("evaluate", "m", "d", "--json", worker=trains("1")).stdout)
    assert (figures["loss"], figures["rows"]) == (1.0, 2)


def test_evaluate_loads_its_adapter_by_name(invoke):
    done = invoke("evaluate", "m", "d", "--adapter", "/a", "--json", worker=trains("1"))
    assert json.loads(done.stdout)["perplexity"] == 2.0


def test_the_options_have_the_words_and_the_defaults_of_the_wire():
    of_the_wire = get_type_hints(Train)
    defaults = {each.name: each.default for each in msgspec.structs.fields(Train)}
    for name, hint in {
        **get_type_hints(Learning, include_extras=True),
        **get_type_hints(Reading, include_extras=True),
    }.items():
        kind, words = get_args(get_args(hint)[0])[0], get_args(of_the_wire[name])
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            assert {*kind} == {*words}, name
        default, (option,) = defaults[name], hint.__metadata__
        if not isinstance(default, bool) and default is not None:
            shown = option.help.rpartition(": ")[2].partition(";")[0].rstrip(".")
            assert type(default)(shown) == default, name


def test_a_terminal_shows_the_loss_as_it_falls_and_ctrl_c_saves(terminal, tmp_path):
    shown = terminal("train", "m", "d", "--out", str(tmp_path), worker=trains("2", "endless"))
    shown.expect("loss 2.0000 · validation 2.5000")
    shown.interrupt("its state is in")
    rest, code = shown.end()
    assert code == 130
    assert "--resume" in rest
