"""A file in the working folder runs in no process of ours, whatever module it is named after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.driver import WORKER
from support.patience import PATIENCE_SECONDS
from support.tiny_model import TINY

SCRIPTS = Path(sys.executable).parent
MODULES = [
    *("abc", "argparse", "contextlib", "ctypes", "enum", "functools", "json", "math", "queue"),
    *(
        "random",
        "re",
        "runpy",
        "select",
        "signal",
        "string",
        "struct",
        "subprocess",
        "tempfile",
    ),
    *("threading", "types", "typing", "jinja2", "mlx", "mlx_lm", "msgspec", "numpy", "orjson"),
    *("safetensors", "scipy_openblas32", "sitecustomize", "tokenizers", "usercustomize"),
    *("mlxwire_protocol", "mlxwire_worker", "mlxwire"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy a model into a folder with a file for each module that a worker may import."""
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    for name in MODULES:
        line = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + ' ')\n"
        (tmp_path / f"{name}.py").write_text(line)
    return tmp_path


def run(
    command: Sequence[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    lines = '{"cmd":"load","path":"."}\n{"cmd":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":1}\n'
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def ran(folder: Path) -> str:
    found = folder / "ran"
    return found.read_text() if found.exists() else ""


@pytest.mark.parametrize(
    "command", [WORKER, (str(SCRIPTS / "mlxwire-worker"),)], ids=["module", "script"]
)
def test_no_file_of_the_working_folder_runs_in_a_worker_or_its_helpers(
    command: Sequence[str], folder: Path
) -> None:
    ended = run([*command, "--drain-on-eof"], folder, XDG_CACHE_HOME=str(folder / "cache"))

    assert ended.returncode == 0, ended.stderr
    assert '"done":true' in ended.stdout
    assert ran(folder) == ""


@pytest.mark.parametrize(
    "command", [["doctor", "--engine", "mock"], ["generate", ".", "hi", "--max-tokens", "1"]]
)
def test_no_file_of_the_working_folder_runs_in_the_command_line(
    command: list[str], folder: Path
) -> None:
    (folder / "cache").mkdir()
    ended = run([str(SCRIPTS / "mlxwire"), *command], folder)

    assert ended.returncode == 0, ended.stderr
    assert ran(folder) == ""


LATE = {
    "random",
    "queue",
    "jinja2",
    "mlx",
    "mlx_lm",
    "numpy",
    "msgspec",
    "orjson",
    "tokenizers",
}
"""Modules that Python itself does not import before the worker's first line."""


def test_without_the_option_the_worker_itself_leaves_the_working_folder(folder: Path) -> None:
    for file in folder.glob("*.py"):
        if file.stem not in LATE:
            file.unlink()

    ended = run([sys.executable, "-m", "mlxwire_worker", "--drain-on-eof"], folder)

    assert ended.returncode == 0, ended.stderr
    assert '"done":true' in ended.stdout
    assert ran(folder) == ""


@pytest.mark.parametrize("path", [":/nothing", "/nothing:", "/nothing::/nowhere"])
def test_an_empty_entry_of_the_hosts_path_does_not_name_the_working_folder(
    folder: Path, path: str
) -> None:
    for file in folder.glob("*.py"):
        if file.stem not in LATE:
            file.unlink()

    ended = run([*WORKER, "--drain-on-eof"], folder, PYTHONPATH=path)

    assert ended.returncode == 0, ended.stderr
    assert '"done":true' in ended.stdout
    assert ran(folder) == ""


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ([*WORKER, "--drain-on-eof"], '"done":true'),
        ([str(SCRIPTS / "mlxwire"), "doctor", "--engine", "mlx"], "round trip"),
    ],
    ids=["worker", "doctor"],
)
@pytest.mark.parametrize("entry", ["", "."])
def test_no_program_of_the_working_folder_is_run(
    tmp_path: Path, entry: str, command: Sequence[str], told: str
) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    for name in ("g++", "sh", "cc"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    search = f"{entry}{os.pathsep}{os.environ['PATH']}"
    cache = str(tmp_path / "cache")  # nothing is compiled yet

    ended = run(command, tmp_path, PATH=search, XDG_CACHE_HOME=cache)

    assert ended.returncode == 0, ended.stderr
    assert told in ended.stdout
    assert ran(tmp_path) == ""


TELLING = """
import os, sys
from mlxwire_worker.worker import Worker
def tell(self):
    import random
    os.write(2, f"{os.environ.get('PYTHONPATH')}|{random.__file__}|{sys.path}".encode())
    os._exit(0)
Worker.run = tell
sys.argv = ["mlxwire-worker", "--engine", "mock", *sys.argv[1:]]
from mlxwire_worker.__main__ import main
main()
"""


def told(folder: Path, *arguments: str, path: str) -> list[str]:
    """Return PYTHONPATH, the file of `random` and the import path of a worker that serves."""
    command = [sys.executable, "-P", "-c", TELLING, *arguments]
    return run(command, folder, PYTHONPATH=path).stderr.split("|")


def test_the_hosts_own_path_is_honoured_and_scrubbed_with_the_environment(
    tmp_path: Path,
) -> None:
    (tmp_path / "random.py").write_text("")
    path = f"{tmp_path}{os.pathsep}/nothing"

    kept = told(tmp_path, path=path)
    scrubbed = told(tmp_path, "--scrub-env", path=path)
    allowed = told(tmp_path, "--scrub-env", "--env-allow", "PYTHON*", path=path)

    assert kept == allowed
    assert kept[:2] == [path, str(tmp_path / "random.py")]
    assert scrubbed[0] == "None"
    assert str(tmp_path) not in scrubbed[1] + scrubbed[2]


def test_a_scrubbed_worker_keeps_the_folder_that_it_comes_from(tmp_path: Path) -> None:
    import mlxwire_worker

    source = str(Path(mlxwire_worker.__file__).parents[1])

    scrubbed = told(tmp_path, "--scrub-env", path=f"/nothing{os.pathsep}{source}")

    assert scrubbed[0] == source
    assert source in scrubbed[2]


LOADING = {
    "PYTHONHOME": "/x",
    "PYTHONSTARTUP": "/x",
    "PYTHONUSERBASE": "/x",
    "PYTHONPYCACHEPREFIX": "/x",
    "PYTHONBREAKPOINT": "x.y",
    "PYTHONWARNINGS": "error::x.Y",
    "PYTHONPLATLIBDIR": "x",
    "PYTHONINSPECT": "1",
    "PYTHONEXECUTABLE": "/x",
    "DYLD_INSERT_LIBRARIES": "/x",
    "LD_PRELOAD": "/x",
    "LD_AUDIT": "/x",
    "GCONV_PATH": "/x",
}


def test_no_variable_that_loads_code_outlives_a_scrub() -> None:
    from mlxwire_worker.process.environment import kept

    assert kept(LOADING) == {}
    assert kept({"PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"})
