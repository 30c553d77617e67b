"""Runs a driver once and gathers all that can be known of it: what it said, held and left."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.repository import ROOT

from .leftovers import GRACE_SECONDS, MARK_VARIABLE, find_marked, kill, left_behind

HERE = Path(__file__).parent
LIMIT_SECONDS = 30.0
WORKER = (sys.executable, "-P", "-m", "mlxwire_worker", "--engine", "mock")


@dataclass(frozen=True)
class DriverRun:
    """A driver's run; ``exit_code`` is None where it had to be killed."""

    exit_code: int | None
    stdout: bytes
    stderr: str
    seconds: float
    peak_bytes: int
    left: list[int]
    record: list[dict[str, Any]]
    """What passed between client and worker, where a proxy stood between them."""


def run_driver(
    driver: Sequence[str],
    scenario: str,
    worker: Sequence[str] = WORKER,
    *,
    limit: float = LIMIT_SECONDS,
    recorded: bool = False,
    survivors: bool = False,
) -> DriverRun:
    """Run one scenario against a worker, and end whatever is left of it.

    With ``survivors`` something will be left, so that nothing is waited for.
    """
    return run_program(
        [*driver, "--scenario", scenario],
        worker,
        limit=limit,
        recorded=recorded,
        survivors=survivors,
    )


def run_program(
    program: Sequence[str],
    worker: Sequence[str],
    *,
    limit: float,
    stdin: bytes | None = None,
    recorded: bool = False,
    survivors: bool = False,
) -> DriverRun:
    """Run a driver's whole command line, with ``stdin`` as its input; else as `run_driver`."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        record, report = Path(folder, "record"), Path(folder, "report")
        command = list(worker)
        if recorded:
            proxy = [sys.executable, "-I", "-S", str(HERE / "proxy.py"), str(record)]
            command = proxy + command
        began = time.monotonic()
        process = _start(program, command, mark, report, stdin is not None)
        stdout, stderr, in_time = _see_out(process, limit, mark, stdin)
        seconds = time.monotonic() - began
        left = left_behind(mark, 0.0 if survivors else GRACE_SECONDS)
        kill(left)
        ended = json.loads(report.read_text()) if in_time and report.exists() else {}
        return DriverRun(
            exit_code=ended.get("exit_code"),
            stdout=stdout,
            stderr=stderr.decode("utf-8", "replace"),
            seconds=seconds,
            peak_bytes=ended.get("peak_bytes", 0),
            left=left,
            record=_read_record(record),
        )


def _start(
    driver: Sequence[str], worker: Sequence[str], mark: str, report: Path, asked: bool
) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "MLXWIRE_WORKER": shlex.join(worker),
        "MLXWIRE_FRESH_WORKER": shlex.join(WORKER),
        "MLXWIRE_MODEL": "mock",
        MARK_VARIABLE: mark,
    }
    measured = [sys.executable, "-I", "-S", str(HERE / "measure.py"), str(report), *driver]
    return subprocess.Popen(
        measured,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _see_out(
    process: subprocess.Popen[bytes], limit: float, mark: str, stdin: bytes | None
) -> tuple[bytes, bytes, bool]:
    """Return a process's output and True at its end; kill it and all its own at the limit."""
    try:
        return *process.communicate(stdin, timeout=limit), True
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        kill(find_marked(mark))
        return *process.communicate(), False


def _read_record(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
