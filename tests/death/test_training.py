"""No program of a training outlives its worker, however that ends, and its files stay whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from death.test_host import HOST, pid_told_by
from support.driver import Driver, mock
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended

MOCK = ("--mock-step-seconds", "0.001")


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "x"}\n')
    return str(file)


def training(worker: Driver, rows: str, out: Path) -> tuple[str, int]:
    """Begin a training without an end; return the request and the pid of its program."""
    worker.hello()
    worker.load("m")
    request = worker.send("train", data=rows, out=str(out), iterations=10**9, save_every=5)
    worker.until(lambda m: m.get("step", 0) > 20, request)
    (program,) = children_of(worker.process.pid)
    return request, program


def assert_whole(out: Path) -> None:
    """Assert that every folder that is named as a checkpoint is one."""
    whole = [each for each in (out / "checkpoints").iterdir() if each.name.isdigit()]
    assert whole
    for folder in whole:
        assert json.loads((folder / "adapter_config.json").read_text())
        assert (folder / "adapters.safetensors").stat().st_size > 32


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_program_ends_with_a_worker_that_is_killed(
    rows: str, tmp_path: Path, number: signal.Signals
) -> None:
    with mock(*MOCK) as worker:
        _, program = training(worker, rows, tmp_path / "out")
        worker.signal(number)
        worker.wait()
        assert has_ended(program, PATIENCE_SECONDS)
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize("end", ["close_stdin", "close_stdout"])
def test_a_program_ends_with_a_worker_whose_host_is_gone(
    rows: str, tmp_path: Path, end: str
) -> None:
    with mock(*MOCK) as worker:
        _, program = training(worker, rows, tmp_path / "out")
        getattr(worker, end)()
        worker.wait()
        assert has_ended(program, PATIENCE_SECONDS)
    assert_whole(tmp_path / "out")


def test_a_stopped_program_ends_with_its_worker(rows: str, tmp_path: Path) -> None:
    with mock(*MOCK) as worker:
        _, program = training(worker, rows, tmp_path / "out")
        os.kill(program, signal.SIGSTOP)
        worker.close_stdin()
        assert worker.wait() == 0
        assert has_ended(program, PATIENCE_SECONDS)


def test_a_program_that_is_killed_fails_its_request_alone(rows: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with mock(*MOCK) as worker:
        request, program = training(worker, rows, out)
        os.kill(program, signal.SIGKILL)
        error = worker.final(request)["error"]

        assert (error["code"], error["data"]["signal"]) == ("training_failed", "SIGKILL")
        assert Path(error["data"]["checkpoint"]).is_dir()
        assert worker.ask("generate", prompt="a")["type"] == "done"
        again = worker.ask("train", data=rows, out=str(out), iterations=5)
        assert again["type"] == "result"
    assert_whole(out)


def test_a_program_is_gone_after_the_host_of_its_worker(rows: str) -> None:
    host = subprocess.Popen(
        [sys.executable, HOST, "training", rows, "--engine", "mock", *MOCK],
        stdout=subprocess.PIPE,
    )
    try:
        worker = pid_told_by(host)
        (program,) = children_of(worker)
        host.kill()
        host.wait()
        assert has_ended(worker, PATIENCE_SECONDS)
        assert has_ended(program, PATIENCE_SECONDS)
    finally:
        host.kill()
        host.wait()
        assert host.stdout is not None
        host.stdout.close()
    assert_whole(Path(rows + ".out"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death")
def test_a_program_that_hears_nothing_ends_with_its_worker(tmp_path: Path) -> None:
    """A program in native code may hold the interpreter's lock and never look at its stdin."""
    deaf = "import ctypes; print(flush=True); ctypes.PyDLL(None).pause()"
    (tmp_path / "deaf.py").write_text(deaf)
    parent = (
        "import subprocess\n"
        "from mlxwire_worker.process.child.program import tied_command\n"
        "child = subprocess.Popen(tied_command('deaf'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "import signal; signal.pause()\n"
    )
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)]))
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", parent],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        program = pid_told_by(worker)
        worker.kill()
        worker.wait()
        ended = has_ended(program, PATIENCE_SECONDS)
        if not ended:
            os.kill(program, signal.SIGKILL)
        assert ended
    finally:
        worker.kill()
        worker.wait()
        assert worker.stdout is not None
        worker.stdout.close()
