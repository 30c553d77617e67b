"""A host that is killed takes its worker along, and the worker's helpers, whatever they do."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from death.phases import Phase
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended

HOST = str(Path(__file__).with_name("host.py"))
SLOW_MOCK = ("--engine", "mock", "--mock-step-seconds", "0.2")
MLX = ("--engine", "mlx")


@pytest.mark.parametrize("phase", ["starting", "idle", "decoding", "closing"])
def test_a_mock_worker_is_gone_after_its_host(phase: Phase) -> None:
    assert_all_die_with_the_host(phase, "m", *SLOW_MOCK)


@pytest.mark.parametrize(
    "phase", ["starting", "idle", "loading", "prefill", "decoding", "closing"]
)
def test_a_worker_with_a_model_is_gone_after_its_host(phase: Phase, model: str) -> None:
    assert_all_die_with_the_host(phase, model, *MLX)


def test_a_template_helper_amid_a_render_is_gone_too(endless_model: str) -> None:
    assert_all_die_with_the_host("rendering", endless_model, *MLX)


def assert_all_die_with_the_host(phase: Phase, model: str, *arguments: str) -> None:
    host = subprocess.Popen(
        [sys.executable, HOST, phase, model, *arguments], stdout=subprocess.PIPE
    )
    try:
        worker = pid_told_by(host)
        helpers = helpers_of(worker) if phase == "rendering" else children_of(worker)
        host.kill()
        host.wait()
        for pid in (worker, *helpers):
            assert has_ended(pid, PATIENCE_SECONDS), f"pid {pid} outlived its host"
    finally:
        host.kill()
        host.wait()
        assert host.stdout is not None
        host.stdout.close()


def helpers_of(worker: int) -> list[int]:
    """Return the worker's children once it has one: between two renders it may have none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (helpers := children_of(worker)):
        assert time.monotonic() < deadline, "the worker has no helper"
        time.sleep(0.01)
    return helpers


def pid_told_by(host: subprocess.Popen[bytes]) -> int:
    assert host.stdout is not None
    poll = select.poll()
    poll.register(host.stdout, select.POLLIN)
    assert poll.poll(PATIENCE_SECONDS * 1000), "the host did not come to its phase"
    return int(os.read(host.stdout.fileno(), 64))


@pytest.mark.skipif(sys.platform != "darwin", reason="a kqueue's notice of an exit")
def test_macos_tells_of_a_killed_process() -> None:
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
    )
    assert not has_ended(child.pid, 0)
    os.kill(child.pid, signal.SIGKILL)
    assert has_ended(child.pid, PATIENCE_SECONDS)
    child.wait()
