"""The status of a worker that somebody else has reaped is unknown, and its pid no longer its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import mlxwire
from mlxwire.process.child_handle import ChildHandle

needs_pidfd = pytest.mark.skipif(sys.platform != "linux", reason="no pidfd")


@pytest.fixture
def ignored_children() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ignored_children")
async def test_a_host_that_ignores_sigchld_is_told_that_the_status_is_unknown():
    worker = await mlxwire.Worker(engine="mock").start()
    model = await worker.load("any")
    os.kill(worker.pid, signal.SIGKILL)

    async def ask_until_it_fails() -> None:
        while True:
            await model.info()

    with pytest.raises(mlxwire.WorkerCrashed, match="exit status is unknown") as caught:
        await ask_until_it_fails()
    assert (caught.value.exit_code, caught.value.signal) == (None, None)
    assert worker.returncode is None
    assert worker.state == "failed"
    await worker.close()


@pytest.mark.usefixtures("ignored_children")
async def test_a_host_that_ignores_sigchld_closes_its_worker():
    async with mlxwire.Worker(engine="mock") as worker:
        await worker.metrics()
    assert worker.state == "closed"
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.usefixtures("ignored_children")
async def test_a_restart_follows_an_unknown_status():
    ready = asyncio.Event()
    policy = mlxwire.RestartPolicy(backoff_min=0.0)
    async with mlxwire.Worker(engine="mock", restart=policy) as worker:
        model = await worker.load("any")
        first = worker.pid
        os.kill(first, signal.SIGKILL)
        while worker.pid == first:
            try:
                await model.info()
            except mlxwire.WorkerCrashed:
                ready.set()
        assert ready.is_set()
        assert (await model.info()).path == "any"


def child(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, start_new_session=True)


@pytest.mark.parametrize(
    ("words", "returncode"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], -9)],
)
def test_a_child_of_ones_own_is_reaped_with_its_status(words, returncode):
    popen = child(*words)
    handle = ChildHandle(popen)
    assert handle.reap() == returncode
    assert handle.has_exited()
    assert popen.returncode == returncode
    handle.close()


@needs_pidfd
def test_a_reaped_pid_is_never_signalled(monkeypatch):
    popen = child("true")
    handle = ChildHandle(popen)
    os.waitpid(popen.pid, 0)
    signalled: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: signalled.append(pid))
    handle.signal_group(signal.SIGKILL)
    assert signalled == []
    assert handle.reap() is None
    handle.close()


@needs_pidfd
@pytest.mark.parametrize("new_enough", [True, False])
def test_a_group_is_signalled_through_the_pidfd_of_its_leader(monkeypatch, new_enough):
    send = signal.pidfd_send_signal

    def refuses_flags(pidfd: int, number: int, _info: object = None, flags: int = 0) -> None:
        if flags:
            raise OSError(22, "flags are of a later kernel")
        send(pidfd, number)

    if not new_enough:
        monkeypatch.setattr(signal, "pidfd_send_signal", refuses_flags)
    popen = child("sleep", "600")
    handle = ChildHandle(popen)
    handle.signal_group(signal.SIGTERM)
    assert handle.reap() == -signal.SIGTERM
    handle.close()
