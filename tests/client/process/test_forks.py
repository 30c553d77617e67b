"""A fork of the host may not use its parent's worker, and can't disturb it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKING = """
import mlxwire.sync

def use_all(worker, model, stream):
    uses = {
        "text": lambda: model.generate("a b").text(),
        "info": lambda: model.info(),
        "classify": lambda: model.classify(["a"]).results(),
        "batch": lambda: list(model.batch(["a"])),
        "chat": lambda: list(model.chat("a")),
        "begun": lambda: next(stream),
        "rest": lambda: list(stream),
        "cancel": lambda: worker.cancel(),
        "load": lambda: worker.load("other"),
        "metrics": lambda: worker.metrics(),
    }
    for name, use in uses.items():
        try:
            use()
        except mlxwire.NotInitialized as error:
            assert "fork" in error.message, error
        else:
            raise AssertionError(name)
    stream.close()
    model.close()
    worker.close()

with mlxwire.sync.Worker(engine="mock", restart=RESTART) as worker:
    model = worker.load("any")
    with model.generate("a b c d e f") as stream:
        next(stream)
        child = os.fork()
        if child == 0:
            failing = 1
            try:
                use_all(worker, model, stream)
                failing = 0
            except BaseException:
                traceback.print_exc()
            os._exit(failing)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert len(list(stream)) == 5
    assert model.generate("a b").text() == "a b"
    assert worker.metrics().errors == 0
"""
ON_A_LOOP = """
async def use_all(worker, model, stream):
    uses = {
        "text": lambda: model.generate("a b").text(),
        "info": lambda: model.info(),
        "classify": lambda: model.classify(["a"]),
        "batch": lambda: model.batch(["a"]).results(),
        "enter": lambda: model.chat("a").__aenter__(),
        "rest": lambda: stream.take_all(),
        "cancel": lambda: worker.cancel(),
        "load": lambda: worker.load("other"),
        "metrics": lambda: worker.metrics(),
    }
    for name, use in uses.items():
        try:
            await use()
        except mlxwire.NotInitialized as error:
            assert "fork" in error.message, error
        else:
            raise AssertionError(name)
    await stream.aclose()
    await model.close()
    await worker.close()

async def main():
    async with mlxwire.Worker(engine="mock", restart=RESTART) as worker:
        model = await worker.load("any")
        async with model.generate("a b c d e f") as stream:
            child = os.fork()
            if child == 0:
                failing = 1
                try:
                    asyncio.run(use_all(worker, model, stream))
                    failing = 0
                except BaseException:
                    traceback.print_exc()
                os._exit(failing)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            assert len(await stream.take_all()) == 6
        assert await model.generate("a b").text() == "a b"
        assert (await worker.metrics()).errors == 0

asyncio.run(main())
"""
HEAD = "import asyncio, os, traceback, mlxwire\n"


@pytest.mark.parametrize("restart", ["None", "mlxwire.RestartPolicy()"])
@pytest.mark.parametrize("program", [BLOCKING, ON_A_LOOP], ids=["sync", "async"])
def test_a_fork_is_refused_at_once_and_leaves_the_worker_alone(program, restart):
    run = subprocess.run(
        [sys.executable, "-P", "-c", HEAD + program.replace("RESTART", restart)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
