"""Brings a worker into the phase in which it is to die, with calls that wait for it.

These calls never end by themselves, so the speed of the machine does not decide how they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import mlxwire
from support.driver import WORKER
from support.patience import PATIENCE_SECONDS

Phase = Literal[
    "starting", "idle", "loading", "prefill", "decoding", "rendering", "training", "closing"
]
DEAF_AT_FIRST = ("/bin/sh", "-c", 'read -r _; exec "$@"', "sh", *WORKER)
"""A worker that never hears the `hello` of its client, and so goes on starting."""
LONG_PROMPT = "Once upon a time there was a cat. " * 20_000


@dataclass
class Scene:
    """The calls that are pending when a worker is to die, and its model if it has one."""

    pending: list[asyncio.Task] = field(default_factory=list)
    model: mlxwire.Model | None = None


def command(phase: Phase) -> tuple[str, ...]:
    """Return the command of a worker that is to die in a phase."""
    return DEAF_AT_FIRST if phase == "starting" else WORKER


async def bring(worker: mlxwire.Worker, phase: Phase, model_path: str) -> Scene:
    """Go to the phase."""
    if phase == "starting":
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        assert worker.pid is not None
        return Scene([starting])
    await worker.start()
    if phase == "loading":
        return Scene([await _reported(lambda told: _load(worker, model_path, told))])
    model = await worker.load(model_path, warmup=False, context_len=1 << 20)
    scene = Scene(model=model)
    if phase == "prefill":
        scene.pending = [await _reported(lambda told: _generate(model, LONG_PROMPT, told))]
    elif phase == "training":
        scene.pending = [await _reported(lambda told: _train(model, model_path, told))]
    elif phase == "rendering":
        scene.pending = [asyncio.create_task(_render(model))]
        await worker.metrics()  # answered by the thread that has read the chat before it
    elif phase != "idle":
        stream = model.generate("la la", ignore_eos=True, max_tokens=10**9)
        await anext(stream)
        scene.pending = [asyncio.create_task(coro) for coro in (_exhaust(stream), model.info())]
    if phase == "closing":
        scene.pending.append(asyncio.create_task(worker.close()))
        await asyncio.sleep(0)
    return scene


async def _reported(begin: Any) -> asyncio.Task:
    """Begin a call; return its task once it has told of its progress."""
    told = asyncio.Event()
    call: Coroutine[Any, Any, object] = begin(lambda _: told.set())
    task = asyncio.create_task(call)
    await asyncio.wait_for(told.wait(), PATIENCE_SECONDS)
    return task


async def _load(worker: mlxwire.Worker, path: str, told: Any) -> None:
    while True:
        await worker.load(path, on_progress=told)


async def _generate(model: mlxwire.Model, prompt: str, told: Any) -> str:
    options: Any = {"ignore_eos": True, "max_tokens": 10**6}
    return await model.generate(prompt, on_progress=told, **options).text()


async def _train(model: mlxwire.Model, rows: str, told: Any) -> object:
    """Train without an end; tell of a step after the first checkpoint."""
    async with model.train(rows, out=rows + ".out", iterations=10**9, save_every=1) as steps:
        async for _ in steps:
            told(None)
    return None


async def _render(model: mlxwire.Model) -> None:
    while True:  # a render that never ends is stopped after a while
        with suppress(mlxwire.InvalidParams):
            await model.chat("hello").text()


async def _exhaust(stream: mlxwire.TokenStream) -> None:
    async for _ in stream:
        pass
