"""Brings a worker to where it is to die: a client, and what waits for by then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import mlxwire
from support.patience import PATIENCE_SECONDS

Phase = Literal["starting", "idle", "loading", "prefill", "decoding", "rendering", "closing"]
LONG_PROMPT = "Once upon a time there was a cat. " * 20_000


@dataclass
class Scene:
    """The calls that are pending when a worker is to die, and its model if it has one."""

    pending: list[asyncio.Task] = field(default_factory=list)
    model: mlxwire.Model | None = None


async def bring(worker: mlxwire.Worker, phase: Phase, model_path: str) -> Scene:
    """Go to the phase."""
    if phase == "starting":
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        assert worker.pid is not None
        return Scene([starting])
    await worker.start()
    if phase == "loading":
        return Scene([await _reported(lambda told: worker.load(model_path, on_progress=told))])
    model = await worker.load(model_path, warmup=False, context_len=1 << 20)
    scene = Scene(model=model)
    if phase == "prefill":
        scene.pending = [await _reported(lambda told: _generate(model, LONG_PROMPT, told))]
    elif phase == "rendering":
        scene.pending = [asyncio.create_task(model.chat("hello").text())]
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


async def _generate(model: mlxwire.Model, prompt: str, told: Any) -> str:
    return await model.generate(prompt, max_tokens=1, on_progress=told).text()


async def _exhaust(stream: mlxwire.TokenStream) -> None:
    async for _ in stream:
        pass
