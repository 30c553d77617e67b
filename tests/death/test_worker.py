"""A worker that dies or is as good as dead: no call hangs, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

import mlxwire
from death.conftest import Doom
from death.phases import Phase, bring, command
from support.driver import Driver
from support.ladders import ladder_to
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended
from support.tiny_model import TINY

LADDER = ladder_to("kill")
ENDLESS_LADDER = ladder_to("quit")
"""For a worker whose end waits for no step of the ladder."""
MOCK = ("--engine", "mock", "--mock-step-seconds", "0.01")
MLX = ("--engine", "mlx")

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux keeps a process to RLIMIT_AS"
)


async def outcomes(tasks: list[asyncio.Task]) -> list[object]:
    """Return what each task ended with. Fails where one does not end."""
    if tasks:
        _, hanging = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
        assert not hanging, f"{len(hanging)} of {len(tasks)} calls hang"
    return await asyncio.gather(*tasks, return_exceptions=True)


async def closed(worker: mlxwire.Worker) -> None:
    """Close the worker. Fails where that does not come to an end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await worker.close()


@pytest.mark.parametrize("phase", ["starting", "idle", "loading", "prefill", "decoding"])
async def test_a_killed_worker_fails_all_calls_and_takes_its_helpers_along(
    phase: Phase, model: str
) -> None:
    worker = mlxwire.Worker(command(phase), args=MLX, shutdown=ENDLESS_LADDER)
    pending = (await bring(worker, phase, model)).pending
    assert worker.pid is not None
    helpers = children_of(worker.pid)
    os.kill(worker.pid, signal.SIGKILL)
    for error in await outcomes(pending):
        expected = mlxwire.HandshakeFailed if phase == "starting" else mlxwire.WorkerCrashed
        assert isinstance(error, expected)
        assert "SIGKILL" in error.message
    await closed(worker)
    assert all(has_ended(pid, PATIENCE_SECONDS) for pid in helpers)


@pytest.mark.parametrize("phase", ["starting", "idle", "decoding"])
async def test_a_stopped_worker_is_ended_by_the_ladder(phase: Phase) -> None:
    worker = mlxwire.Worker(command(phase), args=MOCK, shutdown=LADDER)
    pending = (await bring(worker, phase, "m")).pending
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    await closed(worker)
    assert worker.returncode in (-signal.SIGKILL, -signal.SIGTERM)
    assert all(isinstance(error, mlxwire.MlxwireError) for error in await outcomes(pending))


@pytest.mark.parametrize(
    ("action", "number"), [("segfault", signal.SIGSEGV), ("abort", signal.SIGABRT)]
)
@pytest.mark.parametrize("engine", [MOCK, MLX], ids=["mock", "mlx"])
async def test_a_crash_in_native_code_is_named(
    doom: Callable[[], Doom], model: str, engine: tuple[str, ...], action: str, number: int
) -> None:
    doomed = doom()
    worker = mlxwire.Worker([*doomed.command, *engine], shutdown=LADDER)
    pending = (await bring(worker, "decoding", model)).pending
    assert worker.pid is not None
    helpers = children_of(worker.pid)
    doomed.strike(action)
    stream_error = (await outcomes(pending))[0]
    assert isinstance(stream_error, mlxwire.WorkerCrashed)
    assert (stream_error.exit_code, stream_error.signal) == (None, number)
    assert stream_error.tokens_delivered >= 1
    await worker.close()
    assert all(has_ended(pid, PATIENCE_SECONDS) for pid in helpers)


@pytest.mark.parametrize("action", ["close_stdout", "close_stdin"])
@pytest.mark.parametrize("phase", ["idle", "decoding"])
async def test_a_worker_that_gives_up_a_pipe_is_ended(
    doom: Callable[[], Doom], action: str, phase: Phase
) -> None:
    doomed = doom()
    worker = mlxwire.Worker([*doomed.command, *MOCK], shutdown=LADDER)
    pending = (await bring(worker, phase, "m")).pending
    doomed.strike(action)
    while worker.state == "ready":
        pending.append(asyncio.create_task(worker.metrics()))
        await asyncio.wait(pending[-1:], timeout=PATIENCE_SECONDS)
    for outcome in await outcomes(pending):
        # A worker whose stdin has ended may still send finals that say `cancelled`.
        assert not isinstance(outcome, BaseException) or isinstance(
            outcome, mlxwire.WorkerCrashed | mlxwire.RequestCancelled
        )
    await worker.close()
    assert worker.returncode is not None


async def test_pipes_held_by_a_grandchild_delay_nobody(doom: Callable[[], Doom]) -> None:
    doomed = doom()
    logged: list[str] = []
    worker = mlxwire.Worker(
        [*doomed.command, *MOCK], shutdown=ENDLESS_LADDER, on_stderr=logged.append
    )
    pending = (await bring(worker, "decoding", "m")).pending
    doomed.strike("grandchild")
    try:
        for outcome in (await outcomes(pending))[:1]:
            assert isinstance(outcome, mlxwire.WorkerCrashed)
            assert outcome.signal == signal.SIGKILL
        await closed(worker)
    finally:
        for line in logged:
            if line.startswith("grandchild "):
                os.kill(int(line.split()[1]), signal.SIGKILL)
    assert any(line.startswith("grandchild ") for line in logged)


@linux_only
@pytest.mark.parametrize("engine", [MOCK, MLX], ids=["mock", "mlx"])
async def test_a_worker_without_memory_ends_every_call(
    doom: Callable[[], Doom], model: str, engine: tuple[str, ...]
) -> None:
    doomed = doom()
    worker = mlxwire.Worker([*doomed.command, *engine], shutdown=LADDER)
    scene = await bring(worker, "decoding", model)
    assert scene.model is not None
    doomed.strike("no_more_memory")
    large = [
        asyncio.create_task(scene.model.generate("word " * 200_000, max_tokens=1).text())
        for _ in range(4)
    ]
    await asyncio.wait(large, timeout=PATIENCE_SECONDS)
    await worker.close()
    for outcome in await outcomes([*scene.pending, *large]):
        assert not isinstance(outcome, BaseException) or isinstance(
            outcome, mlxwire.MlxwireError
        )
    assert worker.returncode is not None


@linux_only
@pytest.mark.parametrize("kilobytes", [20_000, 60_000], ids=["no Python", "no MLX"])
async def test_a_worker_without_memory_to_start_is_an_error_at_once(kilobytes: int) -> None:
    limited = f"ulimit -v {kilobytes}; exec {sys.executable} -P -m mlxwire_worker"
    with pytest.raises(mlxwire.MlxwireError) as caught:
        async with mlxwire.Worker(["/bin/sh", "-c", limited], shutdown=LADDER) as worker:
            await worker.load("m")
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("rendering", [False, True], ids=["idle", "rendering"])
def test_a_helper_does_not_outlive_its_killed_worker_even_if_nobody_looks(
    rendering: bool, endless_model: str
) -> None:
    with Driver(*MLX) as worker:
        worker.hello()
        # A load that has to stop an endless template leaves no helper until the next chat.
        worker.load(endless_model if rendering else str(TINY))
        if rendering:
            worker.send("chat", messages=[{"role": "user", "content": "hello"}])
            worker.ask("metrics")
        helpers = children_of(worker.process.pid)
        assert helpers
        worker.signal(signal.SIGKILL)
        worker.wait()
        assert all(has_ended(pid, PATIENCE_SECONDS) for pid in helpers)
