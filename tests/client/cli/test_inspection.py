"""`mlxwire info`, `mlxwire doctor`, and what the command costs to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import mlxwire
from support.tiny_model import TINY, needs_tiny

from .conftest import MOCK

MLX = MOCK.replace("mock", "mlx")


def test_info_says_what_is_loaded_for_people_and_for_scripts(invoke):
    shown = invoke("info", "m", "--context-len", "99")
    assert shown.exit_code == 0
    assert "context         99 tokens\n" in shown.stdout
    assert "\npooling " in shown.stdout
    facts = json.loads(invoke("info", "m", "--context-len", "99", "--json").stdout)
    assert (facts["model_type"], facts["context_len"]) == ("mock", 99)
    assert {*mlxwire.ModelInfo.__struct_fields__, "load_seconds", "warnings"} == {*facts}


@needs_tiny
def test_info_describes_the_tiny_model(invoke):
    facts = json.loads(invoke("info", str(TINY), "--json", worker=MLX).stdout)
    assert facts["model_type"] == "llama"
    assert facts["parameters"] > 0
    stored = invoke("info", str(TINY), "--json", "--compute-dtype", "stored", worker=MLX)
    assert json.loads(stored.stdout)["compute_dtype"] == "bfloat16"
    assert "batch_lengths: any" in " ".join(
        invoke("info", str(TINY), worker=MLX).stdout.split()
    )


def test_doctor_times_a_worker_and_names_versions_and_device(invoke):
    result = invoke("doctor", "--json", worker=MLX)
    health = json.loads(result.stdout)
    assert health["ok"] is (result.exit_code == 0) is (not health["problems"])
    assert health["mlxwire"] == mlxwire.__version__
    assert health["python"] == sys.version.split()[0]
    assert health["packages"].keys() >= {"mlx", "mlx-lm", "orjson", "msgspec", "tokenizers"}
    assert health["packages"]["msgspec"]
    assert health["worker"]["engine"] == "mlx"
    assert health["worker"]["round_trip_seconds"] > 0
    assert health["worker"]["start_seconds"] > 0
    if health["ok"]:
        assert "Device(" in health["device"]


def test_doctor_tells_the_blas_its_speed_and_what_makes_it_fast(invoke, monkeypatch):
    told = json.loads(invoke("doctor", "--json", worker=MLX).stdout)
    monkeypatch.setenv("MLXWIRE_BLAS", "off")
    off = json.loads(invoke("doctor", "--json", worker=MLX).stdout)
    shown = invoke("doctor", worker=MLX).stdout

    if "cpu" not in off["device"]:
        assert (off["blas"], off["blas_gflops"]) == (None, None)
        return
    assert told["blas"] is None or told["blas_slow"] is None
    assert told["blas_gflops"] > 0
    assert off["ok"]
    assert off["blas"] is None
    assert off["blas_gflops"] > 0
    if off["blas_slow"]:  # MLX's own is the reference BLAS
        assert off["blas_slow"] == "MLXWIRE_BLAS is off"
        assert "which is slow: MLXWIRE_BLAS is off\n" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="only there MLX compiles kernels with g++")
def test_doctor_finds_folders_that_cant_keep_compiled_kernels(invoke, monkeypatch):
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/nothing")
    health = json.loads(invoke("doctor", "--json", worker=MLX).stdout)
    shown = invoke("doctor", worker=MLX).stdout

    assert health["ok"]
    assert health["kernels"].startswith("/")
    assert health["kernels_slow"] is None
    assert [reason.split(":")[0] for reason in health["folders_refused"]] == [
        "/proc/nothing/mlxwire",
        f"/proc/nothing/mlxwire-{os.geteuid()}",
    ]
    assert f"{health['kernels']} (not used: /proc/nothing/mlxwire: no such file" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="only there MLX compiles kernels with g++")
def test_doctor_finds_that_no_folder_has_room():
    limited = ["/bin/sh", "-c", 'ulimit -f 8; exec "$@"', "sh", sys.executable, "-P", "-c"]
    ran = subprocess.run(
        [*limited, "from mlxwire.cli import main; main()", "doctor", "--json"],
        env={**os.environ, "MLXWIRE_WORKER": MLX},
        capture_output=True,
        text=True,
        check=True,
    )
    health = json.loads(ran.stdout)

    assert health["kernels"] is None
    assert "no room left" in health["kernels_slow"]
    assert "XDG_CACHE_HOME" in health["kernels_slow"]


def test_doctor_needs_no_mlx_for_a_mock(invoke):
    result = invoke("doctor", worker=MOCK)
    assert result.exit_code == 0
    assert ", mock, protocol 1\n" in result.stdout
    assert "(median of 20)" in result.stdout


def test_doctor_shows_no_figures_of_a_worker_that_does_not_start(invoke):
    result = invoke("doctor", worker='"unclosed')
    assert result.exit_code == 3
    assert "MLXWIRE_WORKER" in result.stderr
    rows = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines()[-3:])
    assert rows == {"command": "unknown", "start to hello": "unknown", "round trip": "unknown"}


def test_doctor_finds_that_mlx_crashes(invoke, tmp_path, monkeypatch):
    broken = tmp_path / "mlx"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('no such device')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result = invoke("doctor", worker=MLX)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: mlx: ")
    assert "no such device" in result.stderr


def test_version_is_told_by_the_command(run):
    for args in (["--version"], ["--version", "info"]):
        assert run(*args).stdout == f"mlxwire {mlxwire.__version__}\n"


def test_imports_are_no_heavier_than_their_use():
    assert not _imported("import mlxwire", {"typer", "rich"})
    assert not _imported("from mlxwire.cli import main; main()", {"typer", "rich"}, "--version")
    assert _imported("from mlxwire.cli import main; main()", {"rich", "mlx"}, "--help") == set()
    assert _imported("import typer", {"typer"}) == {"typer"}  # that the check can fail


def _imported(code: str, modules: set[str], *args: str) -> set[str]:
    """Return those of the modules that are imported when the code ends."""
    script = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {code}"
    result = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True
    )
    return modules & set(result.stderr.split())
