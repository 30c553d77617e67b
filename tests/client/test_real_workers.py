"""Restarts and a pool over the worker that ships, asyncio and blocking: real processes die."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

import mlxwire
from mlxwire import sync
from support.ladders import ladder_to

AT_ONCE = mlxwire.RestartPolicy(backoff_min=0.0, max_restarts=100)

SLOW = ["--mock-step-seconds", "0.01"]


async def test_a_worker_that_was_killed_is_there_again():
    async with mlxwire.Worker(engine="mock", args=SLOW, restart=AT_ONCE) as worker:
        model = await worker.load("m", context_len=77)
        for _ in range(3):
            pid = worker.pid
            assert pid is not None
            stream = model.generate("a b", ignore_eos=True)
            await anext(stream)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(mlxwire.WorkerCrashed, match="SIGKILL") as caught:
                async for _ in stream:
                    pass
            assert caught.value.tokens_delivered >= 1
            assert await model.generate("a b").text() == "a b"
            assert worker.pid != pid
            assert (await model.info()).context_len == 77


async def test_a_worker_that_was_stopped_is_found_out_and_replaced():
    limits = mlxwire.LivenessLimits(silence=5)  # the next worker must not seem silent
    quick = ladder_to("kill")
    async with mlxwire.Worker(
        engine="mock",
        args=["--heartbeat-seconds", "0.1"],
        liveness=limits,
        restart=AT_ONCE,
        shutdown=quick,
    ) as worker:
        model = await worker.load("m")
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(mlxwire.WorkerCrashed, match="said nothing"):
            await model.generate("a b").text()
        assert await model.generate("a b").text() == "a b"


async def test_a_worker_that_takes_no_step_is_found_out_though_its_heart_beats():
    args = ["--heartbeat-seconds", "0.1", "--mock-step-seconds", "3600"]
    limits = mlxwire.LivenessLimits(silence=60, step=1)
    quick = ladder_to("terminate")
    async with mlxwire.Worker(
        engine="mock", args=args, liveness=limits, shutdown=quick
    ) as worker:
        model = await worker.load("m")
        with pytest.raises(mlxwire.WorkerCrashed, match="took no step"):
            await model.generate("a b").text()
        await worker.close()
        assert worker.returncode == -signal.SIGTERM


async def test_a_pools_workers_share_the_work_and_outlive_each_other():
    async with mlxwire.Pool(engine="mock", restart=AT_ONCE) as pool:
        model = await pool.load("m", workers=2)
        pids = {worker.pid for worker in pool.workers}
        assert len(pids) == 2
        texts = [f"text {number}" for number in range(20)]
        assert await asyncio.gather(*(model.generate(t).text() for t in texts)) == texts
        dead = pool.workers[0].pid
        assert dead is not None
        os.kill(dead, signal.SIGKILL)
        results = await asyncio.gather(
            *(model.generate(t).text() for t in texts), return_exceptions=True
        )
        assert all(
            isinstance(r, mlxwire.WorkerCrashed) or r == t
            for r, t in zip(results, texts, strict=True)
        )
        assert await asyncio.gather(*(model.generate(t).text() for t in texts)) == texts
        await pool.restart()
        assert await model.generate("a b").text() == "a b"
        assert not pids & {worker.pid for worker in pool.workers}


def test_a_blocking_worker_is_started_again():
    changes: list[str] = []
    with sync.Worker(
        engine="mock",
        args=SLOW,
        restart=AT_ONCE,
        on_change=lambda change: changes.append(change.kind),
    ) as worker:
        model = worker.load("m")
        pid = worker.pid
        assert pid is not None
        stream = model.generate("a b", ignore_eos=True)
        next(stream)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(mlxwire.WorkerCrashed):
            list(stream)
        assert model.generate("a b").text() == "a b"
        worker.stop()
        assert worker.state == "stopped"
        worker.restart()
        assert worker.state == "ready"
    assert changes[:6] == ["started", "ready", "crashed", "restarting", "started", "ready"]
    assert worker.state == "closed"


def test_the_blocking_pool():
    with sync.Pool(engine="mock") as pool:
        model = pool.load("m", workers=2, on_demand=True)
        assert model.chat("a b").text() == "a b"
        assert [worker.state for worker in pool.workers] == ["ready", "stopped"]
        pool.restart()
        model.close()
        assert pool.workers == []
    with pytest.raises(mlxwire.ShuttingDown):
        pool.load("m")


def test_a_blocking_worker_with_restarts_tells_of_its_process_and_cancels_in_it():
    with sync.Worker(engine="mock", args=SLOW, restart=mlxwire.RestartPolicy()) as worker:
        assert worker.hello.worker.pid == worker.pid
        with worker.load("m").generate("a b", ignore_eos=True) as stream:
            next(stream)
            assert worker.in_flight >= 1
            assert worker.cancel(stream.id).outcome == "accepted"
        assert worker.metrics().requests >= 2


async def test_a_worker_with_restarts_that_was_not_started_has_no_process_to_tell_of():
    worker = mlxwire.Worker(engine="mock", restart=mlxwire.RestartPolicy())
    assert worker.pid is None
    with pytest.raises(mlxwire.NotInitialized):
        _ = worker.hello
    with pytest.raises(mlxwire.NotInitialized):
        await worker.cancel()
