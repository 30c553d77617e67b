"""Starting: what goes wrong is told apart, and leaves no child behind."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

import mlxwire
from support.ladders import ladder_to

QUICK = ladder_to("kill")


def assert_gone(worker):
    assert worker.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


async def failed_start(command, kind, **options):
    worker = mlxwire.Worker(command, shutdown=QUICK, **options)
    with pytest.raises(kind) as caught:
        await worker.start()
    if worker.pid is not None:
        assert_gone(worker)
    return worker, caught.value


async def test_a_program_that_is_not_there_is_a_failed_spawn(tmp_path):
    _, error = await failed_start([str(tmp_path / "none")], mlxwire.SpawnFailed)
    assert "No such file" in error.message
    assert "none" in error.message


async def test_a_program_that_may_not_be_run_is_a_failed_spawn(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    _, error = await failed_start([str(plain)], mlxwire.SpawnFailed)
    assert "ermission" in error.message


async def test_a_folder_that_is_not_there_is_a_failed_spawn(script, tmp_path):
    _, error = await failed_start(script("good"), mlxwire.SpawnFailed, cwd=tmp_path / "none")
    assert "none" in error.message


async def test_an_early_exit_tells_the_code_and_the_tail_of_stderr(script):
    _, error = await failed_start(script("early_exit"), mlxwire.HandshakeFailed)
    assert error.data == {"exit_code": 7, "signal": None}
    assert not error.retryable
    assert "exited with code 7 before it answered hello" in error.message
    assert "pip install 'mlxwire[mlx]'" in error.message
    assert error.stderr_tail == "no such engine\n"
    assert "no such engine" in str(error)


async def test_a_program_that_exits_before_it_is_told_anything_is_no_worker():
    program = [sys.executable, "-I", "-S", "-c", "raise SystemExit(1)"]
    for start in (
        mlxwire.Worker(program),
        mlxwire.Worker(program, restart=mlxwire.RestartPolicy()),
    ):
        with pytest.raises(mlxwire.HandshakeFailed) as caught:
            await start.start()
        assert caught.value.data == {"exit_code": 1, "signal": None}
        assert not caught.value.retryable


async def test_a_program_that_closes_its_stdout_is_no_worker():
    program = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import os, signal; os.close(1); signal.pause()",
    ]
    _, error = await failed_start(program, mlxwire.HandshakeFailed)
    assert "closed its stdout" in error.message
    assert not error.retryable


@pytest.fixture
def over_once_it_logs(monkeypatch):
    """Return options with which the time to start is over when the worker logs a line."""
    ahead = 0

    def skip(_line):
        nonlocal ahead
        ahead = 1000

    time = asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: time(loop) + ahead)
    return {"start_timeout": 500, "on_stderr": skip}


async def test_a_silent_worker_is_given_up_after_the_start_timeout(script, over_once_it_logs):
    _, error = await failed_start(
        script("silent"), mlxwire.HandshakeFailed, **over_once_it_logs
    )
    assert "500 s" in error.message
    assert error.stderr_tail == "thinking about it\n"


async def test_a_silent_worker_that_ignores_sigterm_is_killed(script, over_once_it_logs):
    worker, _ = await failed_start(
        script("deaf_from_the_start"), mlxwire.HandshakeFailed, **over_once_it_logs
    )
    assert worker.returncode == -9


async def test_a_version_that_nobody_offered_fails_the_handshake(script):
    _, error = await failed_start(script("wrong_version"), mlxwire.HandshakeFailed)
    assert "protocol 9" in error.message


async def test_a_worker_that_refuses_every_version(script):
    _, error = await failed_start(script("refuses_version"), mlxwire.UnsupportedProtocol)
    assert error.data == {"supported": [2]}


async def test_a_worker_of_the_unversioned_wire_is_named_as_such(script):
    _, error = await failed_start(script("old_wire"), mlxwire.HandshakeFailed)
    assert "dialect 0" in error.message


async def test_a_program_that_only_chatters_fails_the_handshake(script):
    _, error = await failed_start(script("endless_banner"), mlxwire.HandshakeFailed)
    assert "not a message" in error.message


async def test_a_program_that_is_no_worker_at_all():
    _, error = await failed_start(
        [sys.executable, "-c", "print('hello')"], mlxwire.HandshakeFailed
    )
    assert error.data["exit_code"] == 0
    assert "'hello'" in error.message


async def test_a_banner_is_recorded_and_skipped(script):
    async with mlxwire.Worker(script("banner"), shutdown=QUICK) as worker:
        assert worker.stray_lines == [
            b"Welcome to the worker",
            b"\x00\xff odd bytes",
            b'{"log": "starting"}',
        ]
        await worker.load("x")


async def test_a_missing_capability_is_the_workers_refusal():
    worker = mlxwire.Worker(engine="mock", require=["teleportation"], shutdown=QUICK)
    with pytest.raises(mlxwire.UnsupportedCapability) as caught:
        await worker.start()
    assert caught.value.data == {"missing": ["teleportation"]}
    assert_gone(worker)


async def test_cancelling_the_host_during_start_ends_the_child(script):
    logged = asyncio.Event()
    worker = mlxwire.Worker(script("silent"), shutdown=QUICK, on_stderr=lambda _: logged.set())
    starting = asyncio.create_task(worker.start())
    await logged.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert_gone(worker)


async def test_the_hello_is_typed(script):
    async with mlxwire.Worker(script("good"), shutdown=QUICK) as worker:
        assert worker.hello.protocol == 1
        assert worker.hello.worker.pid == worker.pid
        assert worker.hello.limits.max_inflight == 64


async def test_a_worker_can_be_started_once(script):
    worker = mlxwire.Worker(script("good"), shutdown=QUICK)
    with pytest.raises(mlxwire.NotInitialized, match="not been started"):
        await worker.load("x")
    async with worker:
        with pytest.raises(RuntimeError, match="started before"):
            await worker.start()
    with pytest.raises(RuntimeError, match="started before"):
        await worker.start()


async def test_env_and_cwd_reach_the_child(tmp_path):
    code = "import os, sys; sys.exit(os.environ['WHO'] + ' ' + os.getcwd())"
    _, error = await failed_start(
        [sys.executable, "-c", code], mlxwire.HandshakeFailed, env={"WHO": "me"}, cwd=tmp_path
    )
    assert error.stderr_tail.strip() == f"me {tmp_path.resolve()}"


async def test_the_child_has_a_process_group_of_its_own(script):
    async with mlxwire.Worker(script("good"), shutdown=QUICK) as worker:
        assert os.getpgid(worker.pid) == worker.pid
        assert os.getpgid(worker.pid) != os.getpgid(0)


@pytest.mark.parametrize("program", ["cat", "sh -c 'echo a banner; exec cat'"])
async def test_a_program_that_writes_back_what_it_is_sent_fails_the_start_at_once(program):
    _, error = await failed_start(program, mlxwire.HandshakeFailed, start_timeout=1e6)
    assert "writes back what it is sent" in error.message
    assert "Check that the command is a worker" in error.message


@pytest.mark.parametrize("env", [None, {"MLXWIRE_PARENT_PID": "1"}])
async def test_a_worker_is_told_the_pid_of_its_parent(env):
    program = ["sh", "-c", "echo told $MLXWIRE_PARENT_PID >&2"]
    _, error = await failed_start(program, mlxwire.HandshakeFailed, env=env)
    assert error.stderr_tail == f"told {os.getpid()}\n"


async def test_modules_of_the_working_folder_are_not_run(tmp_path):
    for name in ("random", "types", "msgspec", "mlxwire_worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was run')\n")
    async with mlxwire.Worker(engine="mock", cwd=tmp_path) as worker:
        await worker.load("any")
        assert "stranger" not in worker.stderr
