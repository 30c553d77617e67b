"""Failures are one line and an exit code, in every command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from mlxwire.cli.exits import exit_codes
from support.tiny_model import TINY

from .conftest import MOCK, environment

MLX = MOCK.replace("mock", "mlx")
WITHOUT_MLX = (
    "import sys, runpy; sys.modules['mlx'] = sys.modules['mlx.core'] = None; "
    "sys.argv = ['mlxwire-worker']; runpy.run_module('mlxwire_worker', run_name='__main__')"
)


def test_a_model_that_is_not_there_exits_1_with_the_code(invoke):
    result = invoke("info", "/no/such/model", worker=MLX)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: model_not_found: ")
    assert result.stderr.count("\n") == 1


def test_with_json_the_failure_is_an_object_too(invoke):
    result = invoke("generate", "/no/such/model", "x", "--json", worker=MLX)
    assert json.loads(result.stdout)["error"]["code"] == "model_not_found"
    assert result.stderr.startswith("error: model_not_found: ")


NOWHERE = "/no/such/worker"
CRASHING = f"{sys.executable} -c 'raise OSError(71)'"


@pytest.mark.parametrize(
    ("args", "worker", "code", "hint"),
    [
        (["chat", "m", "x", "-q"], NOWHERE, "spawn_failed", "mlxwire[mlx]"),
        (["info", "m"], "'", "spawn_failed", "MLXWIRE_WORKER"),
        (["generate", "m", "x"], CRASHING, "handshake_failed", "OSError: 71"),
        (["doctor"], CRASHING, "handshake_failed", "OSError: 71"),
    ],
)
def test_a_worker_that_can_not_start_exits_3(invoke, args, worker, code, hint):
    result = invoke(*args, worker=worker)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: {code}: ")
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not TINY.exists(), reason="no model folder to name")
def test_a_missing_extra_is_one_line_that_says_what_to_install(invoke):
    result = invoke("info", str(TINY), worker=f'{sys.executable} -c "{WITHOUT_MLX}"')
    assert result.exit_code == 1
    assert "run: pip install 'mlxwire[mlx]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_argument_that_is_no_unicode_is_refused_in_one_line():
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mlxwire.cli import main; main()",
            "generate",
            "m",
            b"\xff",
        ],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    assert result.returncode == 1
    assert result.stderr.startswith(b"error: invalid_")
    assert result.stderr.count(b"\n") == 1


def test_a_defect_of_the_command_is_one_line_unless_verbose(capsys):
    with pytest.raises(typer.Exit) as exited, exit_codes():
        raise ZeroDivisionError("by 0")
    assert exited.value.exit_code == 1
    assert capsys.readouterr().err.startswith("error: internal: ZeroDivisionError: by 0")
    with pytest.raises(typer.Exit), exit_codes(verbose=True):
        raise ZeroDivisionError("by 0")
    assert "Traceback" in capsys.readouterr().err


def test_a_session_whose_worker_can_not_start_exits_3(terminal):
    shown, code = terminal("chat", "m", worker=NOWHERE).end()
    assert code == 3
    assert "spawn_failed" in shown


def test_an_option_is_named_as_it_was_typed(invoke):
    result = invoke("generate", "m", "x", "--max-tokens", str(2**62))
    assert "`--max-tokens`" in result.stderr
    assert result.exit_code == 1


INTERRUPTED_AT_IMPORT = """
import importlib.abc, os, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from mlxwire_command import main
main()
"""


@pytest.mark.parametrize(
    "module", ["mlxwire", "msgspec", "mlxwire.cli", "mlxwire.cli.app", "typer"]
)
def test_control_c_while_the_command_is_imported_shows_nothing(module):
    program = INTERRUPTED_AT_IMPORT.replace("MODULE", repr(module))
    result = subprocess.run(
        [sys.executable, "-P", "-c", program, "info", "m"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
