"""A worker that dies, or is as good as dead: everything pending fails, with the cause."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

import mlxwire

QUICK = mlxwire.ShutdownLimits(quit=0.2, close_stdin=0.2, terminate=0.2, kill=5)


async def test_an_exit_in_mid_token_fails_all_that_is_pending(script):
    async with mlxwire.Worker(script("dies_mid_token"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        stream = model.generate("p")
        assert (await anext(stream)).text == "t"
        began = time.monotonic()
        results = await asyncio.gather(
            anext(stream), worker.metrics(), model.info(), return_exceptions=True
        )
        assert time.monotonic() - began < 5
        for error in results:
            assert isinstance(error, mlxwire.WorkerCrashed)
            assert (error.exit_code, error.signal) == (9, None)
            assert error.stderr_tail == "out of luck\n"
            assert error.retryable
        with pytest.raises(mlxwire.WorkerCrashed):
            await model.generate("again").text()
        await model.close()
        assert worker.returncode == 9


async def test_a_signal_is_named(script):
    async with mlxwire.Worker(script("dies_mid_token", "kill"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        with pytest.raises(mlxwire.WorkerCrashed, match="SIGKILL") as caught:
            await model.generate("p").text()
        assert (caught.value.exit_code, caught.value.signal) == (None, signal.SIGKILL)


async def test_a_final_that_was_written_before_the_exit_still_counts(script):
    async with mlxwire.Worker(script("exits_after_done"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        assert await model.generate("p").text() == "t" * 2000
        with pytest.raises(mlxwire.WorkerCrashed) as caught:
            await model.info()
        assert caught.value.exit_code == 4


async def test_a_closed_stdout_is_death_and_the_process_is_ended(script):
    async with mlxwire.Worker(script("closes_stdout"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        began = time.monotonic()
        with pytest.raises(mlxwire.WorkerCrashed, match="closed its stdout") as caught:
            await model.generate("p").text()
        assert time.monotonic() - began < 5
        assert caught.value.stderr_tail == "going silent\n"
    assert worker.returncode == -signal.SIGTERM


async def test_a_closed_stdin_is_found_out_by_the_next_request(script):
    async with mlxwire.Worker(script("closes_stdin"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        stream = model.generate("p")
        await anext(stream)
        with pytest.raises(mlxwire.WorkerCrashed, match="closed its stdin"):
            await worker.metrics()
    assert worker.returncode == -signal.SIGTERM


async def test_a_broken_stdin_is_reported_as_the_exit_that_caused_it(script):
    async with mlxwire.Worker(script("dies_mid_token"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        stream = model.generate("p")
        await anext(stream)
        with pytest.raises(mlxwire.WorkerCrashed) as caught:
            await model.generate("x" * (8 << 20)).text()
        assert caught.value.exit_code == 9


async def test_stderr_is_drained_and_bounded(script):
    lines = []
    worker = mlxwire.Worker(script("noisy"), shutdown=QUICK, on_stderr=lines.append)
    async with worker:
        model = await worker.load("x")
        assert await model.generate("p").text() == "t"
    assert worker.stderr.endswith("x\nthe end\n")
    assert len(worker.stderr) <= 64 * 1024
    assert lines[-1] == "the end"
    assert max(map(len, lines)) <= 16 * 1024
    assert sum(map(len, lines)) == 64 * 65536 + len("the end")


async def test_a_great_request_does_not_block_the_loop_and_arrives_whole(script):
    async with mlxwire.Worker(script("measures"), shutdown=QUICK) as worker:
        model = await worker.load("x")
        sizes = [12 << 20, 5, 3 << 20, 1]
        tasks = [asyncio.create_task(model.generate("x" * size).text()) for size in sizes]
        assert await asyncio.gather(*tasks) == [str(size) for size in sizes]


async def test_a_worker_that_does_not_read_blocks_only_its_own_requests(script):
    async with mlxwire.Worker(script("never_reads"), shutdown=QUICK) as worker:
        began = time.monotonic()
        with pytest.raises(mlxwire.RequestTimeout):
            await worker.load("x" * (4 << 20), timeout=0.1)
        assert time.monotonic() - began < 5
    assert worker.returncode == -signal.SIGTERM


async def test_a_request_that_is_not_confirmed_ends_within_the_drain_limit(script):
    worker = mlxwire.Worker(script("ignores_cancel"), shutdown=QUICK, drain_timeout=0.1)
    async with worker:
        model = await worker.load("x")
        with pytest.raises(mlxwire.DrainTimeout):
            async with model.generate("p") as stream:
                await anext(stream)
