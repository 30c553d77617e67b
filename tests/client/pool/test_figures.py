"""A pool tells the work and the memory of its workers, together and each."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from mlxwire import sync
from support.fake_pool import pooled
from support.fake_process import Processes


def test_metrics_are_summed_and_told_of_each_worker(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", workers=2)
        await pool.load("b")
        for number, process in enumerate(processes.all, 1):
            process.figures = {
                "requests": number,
                "generated_tokens": 10,
                "decode_seconds": 0.5,
            }
        metrics = await pool.metrics()
        assert (metrics.requests, metrics.generated_tokens) == (6, 30)
        assert (metrics.decode_seconds, metrics.errors) == (1.5, 0)
        assert [
            (worker.path, worker.pid, each.requests) for worker, each in metrics.workers
        ] == [*(("a", 1000, 1), ("a", 1001, 2), ("b", 1002, 3))]

    pooled(test)


def test_memory_is_summed_and_told_of_each_worker(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", workers=2)
        for process, active in zip(processes.all, (3, 4), strict=True):
            process.figures = {"active_bytes": active, "peak_bytes": 5, "memory_limit": 9}
        memory = await pool.memory()
        assert (memory.active_bytes, memory.peak_bytes, memory.buffer_bytes) == (7, 10, 0)
        assert [each.memory_limit for _, each in memory.workers] == [9, 9]

    pooled(test)


def test_a_worker_that_does_not_run_is_neither_asked_nor_started(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", on_demand=True)
        assert (await pool.metrics()).workers == (await pool.memory()).workers == []
        assert processes.all == []
        assert (await pool.metrics()).requests == 0

    pooled(test)


def test_a_worker_that_dies_of_the_question_is_left_out(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", workers=2)
        first, second = processes.all
        first.held, second.figures = {"metrics"}, {"requests": 2}
        asking = asyncio.create_task(pool.metrics())
        await first.request("metrics")
        first.die()
        metrics = await asking
        assert metrics.requests == 2
        assert [worker.pid for worker, _ in metrics.workers] == [second.pid]

    pooled(test)


def test_a_worker_that_does_not_answer_in_time_is_told_of(processes: Processes):
    async def test(pool: mlxwire.Pool) -> None:
        await pool.load("a", workers=2)
        processes.all[0].held = {"memory"}
        with pytest.raises(mlxwire.RequestTimeout):
            await pool.memory(timeout=3)

    pooled(test)


def test_real_workers_tell_a_blocking_pool():
    with sync.Pool(engine="mock") as pool:
        model = pool.load("m", workers=2)
        assert model.generate("a b").text() == "a b"
        metrics, memory = pool.metrics(), pool.memory()
        assert metrics.generated_tokens == 2
        assert len(metrics.workers) == len(memory.workers) == 2
        assert memory.active_bytes > 0
