"""A worker has its model with all options and its limits again after a restart."""

from __future__ import annotations

from typing import Any

import pytest

import mlxwire
from support.fake_process import Processes
from support.virtual_time import run

AT_ONCE = mlxwire.RestartPolicy(backoff_min=0, jitter=0)


def sent(processes: Processes) -> list[dict[str, Any]]:
    """Return the requests that the last worker was sent after hello, without ids."""
    return [
        {name: value for name, value in request.items() if name != "id"}
        for request in processes.last.requests[1:]
    ]


def test_limits_are_set_again_after_the_load_the_last_of_each(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m", adapter_path="lora", memory_limit=9)
            await worker.memory(memory_limit=1, buffer_limit=2)
            await worker.memory(buffer_limit=3, clear=True)
            await worker.memory()
            for _ in range(2):
                processes.last.die()
                assert await model.generate("p").text() == "t"
                load, memory, generate = sent(processes)
                assert load == {
                    "cmd": "load",
                    "path": "m",
                    "adapter_path": "lora",
                    "memory_limit": 9,
                }
                assert memory == {"cmd": "memory", "memory_limit": 1, "buffer_limit": 3}
                assert generate["cmd"] == "generate"

    run(main())


def test_a_models_limits_go_with_it_and_the_processs_stay(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            await worker.load("m")
            await worker.memory(prompt_cache_limit=1, wired_limit=2)
            model = await worker.load("n")
            processes.last.die()
            await worker.memory(memory_limit=3)
            assert sent(processes)[:2] == [
                {"cmd": "load", "path": "n"},
                {"cmd": "memory", "wired_limit": 2},
            ]
            await model.close()
            processes.last.die()
            await worker.memory()
            assert sent(processes)[:1] == [{"cmd": "memory", "wired_limit": 2}]

    run(main())


def test_limits_that_were_refused_are_not_set_again(processes: Processes):
    refusal = {"code": "invalid_params", "message": "too much", "retryable": False}

    async def main() -> None:
        async with mlxwire.Worker(["fake"], restart=AT_ONCE) as worker:
            model = await worker.load("m")
            processes.last.refuses["memory"] = refusal
            with pytest.raises(mlxwire.InvalidParams):
                await worker.memory(wired_limit=1)
            processes.last.die()
            assert await model.generate("p").text() == "t"
            assert [request["cmd"] for request in sent(processes)] == ["load", "generate"]

    run(main())
