"""The end: a bounded ladder, safe to climb from anywhere, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading

import pytest

import mlxwire
from support.ladders import ladder_to
from support.patience import PATIENCE_SECONDS

QUICK = ladder_to("kill")


def descriptors():
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    ("behaviour", "step", "returncode"),
    [
        ("good", "quit", 0),
        ("ignores_quit", "close_stdin", 0),
        ("ignores_quit_and_end", "terminate", -signal.SIGTERM),
        ("deaf", "kill", -signal.SIGKILL),
        ("never_reads", "terminate", -signal.SIGTERM),
    ],
)
async def test_the_ladder_goes_as_far_as_it_must(script, behaviour, step, returncode):
    worker = await mlxwire.Worker(script(behaviour), shutdown=ladder_to(step)).start()
    await worker.close()
    assert worker.returncode == returncode


async def test_a_stopped_worker_is_killed(script):
    worker = await mlxwire.Worker(script("good"), shutdown=QUICK).start()
    os.kill(worker.pid, signal.SIGSTOP)
    await worker.close()
    assert worker.returncode == -signal.SIGKILL


async def test_close_may_be_called_by_many_and_again(script):
    worker = await mlxwire.Worker(
        script("ignores_quit"), shutdown=ladder_to("close_stdin")
    ).start()
    await asyncio.gather(*(worker.close() for _ in range(5)))
    await worker.close()
    assert worker.returncode == 0
    with pytest.raises(mlxwire.ShuttingDown):
        await worker.metrics()


async def test_close_before_start_is_harmless(script):
    await mlxwire.Worker(script("good")).close()


async def test_a_cancelled_close_goes_on_by_itself(script):
    worker = await mlxwire.Worker(
        script("ignores_quit"), shutdown=ladder_to("close_stdin")
    ).start()
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await worker.close()
    assert worker.returncode == 0


async def test_close_does_not_wait_behind_a_blocked_write(script):
    async with mlxwire.Worker(script("never_reads"), shutdown=QUICK) as worker:
        loading = asyncio.create_task(worker.load("x" * (8 << 20)))
        await asyncio.sleep(0)
    with pytest.raises(mlxwire.RequestCancelled):
        await loading


async def test_what_is_in_flight_at_close_ends_with_the_workers_word():
    async with mlxwire.Worker(
        engine="mock", args=["--mock-step-seconds", "0.01"], shutdown=ladder_to("quit")
    ) as worker:
        model = await worker.load("x")
        stream = model.generate("p", ignore_eos=True, max_tokens=5000)
        await anext(stream)
    with pytest.raises(mlxwire.RequestCancelled, match="closed by another call") as caught:
        await stream.take_all()
    assert len(caught.value.results) < 5000 - 1
    assert stream.done.finish_reason == "cancelled"


async def test_a_grandchild_that_holds_the_pipes_does_not_delay_the_end(script):
    pids = []
    logged = asyncio.Event()

    def listen(line):
        pids.append(int(line.split()[1]))
        logged.set()

    worker = mlxwire.Worker(script("grandchild"), on_stderr=listen, shutdown=ladder_to("quit"))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), worker:
            await logged.wait()
        assert worker.returncode == 0
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


async def test_a_helper_in_the_workers_group_is_ended_with_it(script, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holding = asyncio.create_task(asyncio.to_thread(fifo.read_bytes))
    async with mlxwire.Worker(script("helper", str(fifo))) as worker:
        pass
    assert worker.returncode == 0
    assert await holding == b""  # its end: nobody holds the FIFO any more


async def test_the_bodys_exception_comes_through(script):
    with pytest.raises(ZeroDivisionError):
        async with mlxwire.Worker(script("good"), shutdown=QUICK):
            raise ZeroDivisionError


def test_the_end_of_the_loop_ends_a_worker_that_nobody_closed(script):
    workers = []

    async def forget():
        worker = await mlxwire.Worker(script("deaf"), shutdown=ladder_to("quit")).start()
        workers.append(worker)
        asyncio.get_running_loop().create_task(worker.close())
        await asyncio.sleep(0)

    asyncio.run(forget())
    assert workers[0].returncode == -signal.SIGKILL


async def test_a_hundred_restarts_leave_no_thread_and_no_descriptor(script):
    async def once(behaviour):
        with contextlib.suppress(mlxwire.MlxwireError):
            async with mlxwire.Worker(script(behaviour), shutdown=QUICK) as worker:
                model = await worker.load("x")
                await model.generate("p").text()

    await once("good")
    before = descriptors(), threading.active_count()
    for number in range(100):
        await once(("good", "dies_mid_token", "early_exit", "wrong_version")[number % 4])
    assert (descriptors(), threading.active_count()) == before


@pytest.mark.parametrize("fallback", ["no pidfd", "no kqueue either"])
async def test_an_exit_is_noticed_where_no_descriptor_tells_it(script, monkeypatch, fallback):
    def refuse(*_):
        raise OSError(fallback)

    monkeypatch.setattr("mlxwire.process.exit_watch.ExitWatch._open", refuse)
    async with mlxwire.Worker(script("dies_mid_token"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        with pytest.raises(mlxwire.WorkerCrashed) as caught:
            await model.generate("p").text()
        assert caught.value.exit_code == 9
