"""The program of a conversion: its events, and nothing left behind however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.conversion import names_in
from support.model_worker import Models, ModelWorker
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

PROGRAM = [sys.executable, "-P", "-m", "mlxwire_worker.conversion"]
SMALL = 1024


def task(source: Path, out: Path, **options: Any) -> bytes:
    return json.dumps({"source": str(source), "out": str(out), **options}).encode() + b"\n"


def run(line: bytes, **process: Any) -> list[dict[str, Any]]:
    """Run the program to its end, and return its events."""
    with subprocess.Popen(
        PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, **process
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(line)
        program.stdin.flush()
        events = [json.loads(each) for each in program.stdout]
        assert program.wait(PATIENCE_SECONDS) == 0
    return events


def test_it_tells_each_tensor_and_then_the_result(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    events = run(task(models("qwen3"), tmp_path / "out", bits=8))

    told = [event for event in events if event.get("stage") == "convert"]
    assert [event["done"] for event in told] == list(range(1, len(told) + 1))
    assert {event["total"] for event in told} == {len(told)}
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert {event["tensor"] for event in told} == index["weight_map"].keys()
    assert (events[-1]["event"], events[-1]["path"]) == ("result", str(tmp_path / "out"))
    assert worker.use(tmp_path / "out").ask("info")["quant_bits"] == 8


def test_an_error_is_its_last_event(models: Models, tmp_path: Path) -> None:
    events = run(task(models("qwen3"), tmp_path / "out", bits=9))

    assert (events[-1]["event"], events[-1]["code"]) == ("error", "invalid_params")
    assert events[-1]["data"] == {"field": "bits"}
    assert run(b"[]\n")[-1]["code"] == "invalid_params"


@contextmanager
def amid(line: bytes) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Yield the program in the middle of its writing: it waits for somebody to read its events."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=theirs, cwd=ROOT) as program:
        theirs.close()
        assert program.stdin is not None
        program.stdin.write(line)
        program.stdin.flush()
        seen = b""
        while b'"convert"' not in seen:
            seen += ours.recv(64)
        try:
            yield program, ours
        finally:
            program.kill()
            ours.close()


def unfinished(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if name.endswith(".partial")]


def source_of(models: Models) -> Path:
    """Return a model with more tensors than the pipe holds events."""
    return models("tiny")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(
    models: Models, tmp_path: Path, number: signal.Signals
) -> None:
    with amid(task(source_of(models), tmp_path / "new/out")) as (program, _):
        assert unfinished(tmp_path / "new")
        program.send_signal(number)
        assert program.wait(PATIENCE_SECONDS) == 130

    assert names_in(tmp_path) == []


def test_the_end_of_its_starter_leaves_nothing_behind(models: Models, tmp_path: Path) -> None:
    with amid(task(source_of(models), tmp_path / "out")) as (program, _):
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(PATIENCE_SECONDS) == 130

    assert names_in(tmp_path) == []


def test_what_a_kill_leaves_is_removed_by_the_next_run(models: Models, tmp_path: Path) -> None:
    line = task(source_of(models), tmp_path / "out", bits=4, group_size=32)
    with amid(line) as (program, _):
        program.kill()
        program.wait(PATIENCE_SECONDS)
    assert len(unfinished(tmp_path)) == 1
    assert not (tmp_path / "out").exists()

    events = run(line)

    assert events[-1]["event"] == "result"
    assert names_in(tmp_path) == ["out"]


def test_what_another_run_still_writes_stays(models: Models, tmp_path: Path) -> None:
    busy, other = tmp_path / f".out-{'0' * 16}.partial", tmp_path / ".out-notes.partial"
    busy.mkdir()
    other.mkdir()
    descriptor = os.open(busy, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert run(task(models("qwen3"), tmp_path / "out"))[-1]["event"] == "result"
    finally:
        os.close(descriptor)

    assert names_in(tmp_path) == sorted([busy.name, other.name, "out"])


def test_a_full_disk_leaves_nothing_behind(models: Models, tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk."""
    limit = (models("qwen3") / "model.safetensors").stat().st_size // 2

    events = run(
        task(models("qwen3"), tmp_path / "out"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    assert (events[-1]["event"], events[-1]["code"]) == ("error", "unavailable"), events[-1]
    assert names_in(tmp_path) == []
