"""The end: a bounded ladder, safe to climb from anywhere, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time

import pytest

import mlxwire

QUICK = mlxwire.ShutdownLimits(quit=0.2, close_stdin=0.2, terminate=0.2, kill=5)


def descriptors():
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    ("behaviour", "returncode"),
    [
        ("good", 0),
        ("ignores_quit", 0),
        ("ignores_quit_and_end", -signal.SIGTERM),
        ("deaf", -signal.SIGKILL),
        ("never_reads", -signal.SIGTERM),
    ],
)
async def test_the_ladder_goes_as_far_as_it_must(script, behaviour, returncode):
    worker = await mlxwire.Worker(script(behaviour), shutdown=QUICK).start()
    began = time.monotonic()
    await worker.close()
    assert worker.returncode == returncode
    assert time.monotonic() - began < 4


async def test_a_stopped_worker_is_killed(script):
    worker = await mlxwire.Worker(script("good"), shutdown=QUICK).start()
    os.kill(worker.pid, signal.SIGSTOP)
    await worker.close()
    assert worker.returncode == -signal.SIGKILL


async def test_close_may_be_called_by_many_and_again(script):
    worker = await mlxwire.Worker(script("ignores_quit"), shutdown=QUICK).start()
    await asyncio.gather(*(worker.close() for _ in range(5)))
    await worker.close()
    assert worker.returncode == 0
    with pytest.raises(mlxwire.ShuttingDown):
        await worker.metrics()


async def test_close_before_start_is_harmless(script):
    await mlxwire.Worker(script("good")).close()


async def test_a_cancelled_close_goes_on_by_itself(script):
    worker = await mlxwire.Worker(script("ignores_quit"), shutdown=QUICK).start()
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
    with pytest.raises(mlxwire.ShuttingDown):
        await loading


async def test_what_is_in_flight_at_close_ends_with_the_workers_word():
    async with mlxwire.Worker(
        engine="mock", args=["--mock-step-seconds", "0.01"], shutdown=QUICK
    ) as worker:
        model = await worker.load("x")
        stream = model.generate("p", ignore_eos=True, max_tokens=5000)
        await anext(stream)
    rest = [token async for token in stream]
    assert len(rest) < 100
    assert stream.done.finish_reason == "cancelled"


async def test_a_grandchild_that_holds_the_pipes_does_not_delay_the_end(script):
    pids = []
    logged = asyncio.Event()

    def listen(line):
        pids.append(int(line.split()[1]))
        logged.set()

    worker = mlxwire.Worker(script("grandchild"), on_stderr=listen)
    try:
        async with worker:
            await logged.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 2
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
    limits = mlxwire.ShutdownLimits(quit=30, close_stdin=30, terminate=30, kill=5)
    workers = []

    async def forget():
        worker = await mlxwire.Worker(script("deaf"), shutdown=limits).start()
        workers.append(worker)
        asyncio.get_running_loop().create_task(worker.close())
        await asyncio.sleep(0)

    began = time.monotonic()
    asyncio.run(forget())
    assert time.monotonic() - began < 5
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
