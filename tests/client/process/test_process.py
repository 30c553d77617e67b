"""A child, its pipes and its group: what holds in moments that a real worker seldom meets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from mlxwire.process import process as process_module
from mlxwire.process.process import WorkerProcess
from mlxwire.process.stderr_ring import StderrRing

SILENT = "exec sleep 600"
FDS = Path("/proc/self/fd")

needs_proc = pytest.mark.skipif(not FDS.is_dir(), reason="no /proc to count descriptors in")


class Listener:
    """All that a process told, in order."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def stdout_received(self, chunk: bytes) -> None:
        self.heard.append(chunk)

    def pipe_lost(self, which: Literal["stdin", "stdout"]) -> None:
        self.heard.append(which)

    def process_exited(self, returncode: int) -> None:
        self.heard.append(returncode)


class WatchOfTheTest:
    """An exit watch that tells of the exit when the test does."""

    on_exit: Callable[[], None]

    def __init__(
        self, _loop: object, _pid: int, on_exit: Callable[[], None], _: object
    ) -> None:
        WatchOfTheTest.on_exit = on_exit

    def close(self) -> None:
        pass


def spawn(script: str, listener: Listener, ring: StderrRing | None = None) -> WorkerProcess:
    return WorkerProcess(
        asyncio.get_running_loop(),
        ["/bin/sh", "-c", script],
        env=None,
        cwd=None,
        stderr=ring or StderrRing(),
        listener=listener,
    )


def until_exited(process: WorkerProcess) -> None:
    """Block until the child has exited, without reaping it; the loop sees nothing meanwhile."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def end(process: WorkerProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process._popen.wait()


async def test_what_was_written_before_the_exit_is_heard_before_it(monkeypatch):
    monkeypatch.setattr(process_module, "ExitWatch", WatchOfTheTest)
    listener = Listener()
    process = spawn("printf 'last words'; exit 3", listener)
    until_exited(process)
    WatchOfTheTest.on_exit()
    assert [each for each in listener.heard if each != "stdout"] == [b"last words", 3]


async def test_the_last_line_of_stderr_is_told_though_a_grandchild_holds_the_pipe(monkeypatch):
    monkeypatch.setattr(process_module, "ExitWatch", WatchOfTheTest)
    lines: list[str] = []
    process = spawn(
        "sleep 600 & printf unfinished >&2", Listener(), StderrRing(on_line=lines.append)
    )
    until_exited(process)
    WatchOfTheTest.on_exit()
    assert lines == ["unfinished"]


async def test_a_closed_stdin_is_never_written_to_again(monkeypatch):
    process = spawn(SILENT, Listener())
    process.close_stdin()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda *_: pytest.fail("its number may be another's now"))
        process.write(b"too late\n")
    end(process)
    process.release()


@pytest.mark.parametrize("refusal", [ProcessLookupError, PermissionError])
async def test_a_group_that_can_not_be_signalled_is_let_be(monkeypatch, refusal):
    process = spawn(SILENT, Listener())

    def refuse(*_: object) -> None:
        raise refusal

    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", refuse)
        process.signal_group(signal.SIGTERM)
    end(process)
    process.release()


async def test_a_child_that_was_reaped_is_never_signalled(monkeypatch):
    process = spawn("exit 0", Listener())
    assert await process.wait(60)
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("its number may be another's now"))
    process.signal_group(signal.SIGKILL)


@needs_proc
async def test_a_released_process_leaves_no_descriptor_and_no_watch_though_it_lives():
    before = set(os.listdir(FDS))
    process = spawn(SILENT, Listener())
    opened = {int(name) for name in set(os.listdir(FDS)) - before if (FDS / name).exists()}
    process.release()
    assert set(os.listdir(FDS)) == before
    loop = asyncio.get_running_loop()
    assert not any(loop.remove_reader(fd) or loop.remove_writer(fd) for fd in opened)
    end(process)


async def test_a_loop_that_watches_no_descriptors_leaves_no_child(monkeypatch):
    spawned: list[subprocess.Popen[bytes]] = []
    start = process_module._spawn

    def noted(*args: Any) -> subprocess.Popen[bytes]:
        spawned.append(start(*args))
        return spawned[-1]

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(process_module, "_spawn", noted)
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    with pytest.raises(NotImplementedError):
        spawn(SILENT, Listener())
    (popen,) = spawned
    assert popen.returncode == -signal.SIGKILL
    assert popen.stdin is not None
    assert popen.stdin.closed


async def test_waiting_for_an_end_that_does_not_come_has_a_limit():
    process = spawn(SILENT, Listener())
    assert not await process.wait(0.01)
    process.signal_group(signal.SIGKILL)
    assert await process.wait(60)
