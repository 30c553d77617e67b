"""The program that is started."""

from __future__ import annotations

import sys

import pytest

import mlxwire
from mlxwire.process.find_worker import find_worker

NOTHING = {"PATH": ""}


def test_the_callers_command_wins():
    env = {"MLXWIRE_WORKER": "other"}
    assert find_worker(["a", "b c"], env) == ["a", "b c"]
    assert find_worker("a 'b c'", env) == ["a", "b c"]


def test_the_environment_comes_next():
    assert find_worker(None, {"MLXWIRE_WORKER": "'/a b/worker' -x"}) == ["/a b/worker", "-x"]


def test_without_a_command_this_interpreters_own_worker_is_started():
    assert find_worker(None, NOTHING) == [sys.executable, "-P", "-m", "mlxwire_worker"]
    assert find_worker(None, {**NOTHING, "MLXWIRE_WORKER": " "})[0] == sys.executable


@pytest.mark.parametrize("why", ["not installed", "frozen", "embedded"])
def test_without_a_worker_of_its_own_the_program_on_the_path_is_started(
    monkeypatch, tmp_path, why
):
    if why == "frozen":  # sys.executable is the application itself then
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif why == "embedded":  # in a program that is no interpreter
        monkeypatch.setattr(sys, "executable", "")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    program = tmp_path / "mlxwire-worker"
    program.write_text("")
    program.chmod(0o755)
    assert find_worker(None, {"PATH": str(tmp_path)}) == [str(program)]
    with pytest.raises(mlxwire.SpawnFailed, match="pip install"):
        find_worker(None, NOTHING)


@pytest.mark.parametrize("entry", ["", ".", "../here"])
def test_no_program_of_a_relative_folder_of_the_path_is_started(monkeypatch, tmp_path, entry):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program = folder / "mlxwire-worker"
    program.write_text("")
    program.chmod(0o755)
    with pytest.raises(mlxwire.SpawnFailed, match="pip install"):
        find_worker(None, {"PATH": f"{entry}:/nowhere"})


@pytest.mark.parametrize("command", ["", [], "'unbalanced"])
def test_a_command_that_is_none_is_refused(command):
    with pytest.raises(mlxwire.SpawnFailed):
        find_worker(command, NOTHING)
