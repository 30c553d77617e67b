"""The cells of DRIVER.md over the Python client: `driver_python.py --cells` runs those of its stdin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import mlxwire
from mlxwire import (
    LivenessLimits,
    Model,
    RestartPolicy,
    ShutdownLimits,
    Worker,
    WorkerChange,
)

Cell = dict[str, Any]
Answer = dict[str, Any]
ADD = {"type": "function", "function": {"name": "add"}}
QUICK = RestartPolicy(backoff_min=0.001, backoff_max=0.001)
CELL_SECONDS = 20.0
"""The longest that a cell may take before it counts as hanging."""
ENVELOPE = {
    *("id", "cmd", "window", "prompt", "prompts", "messages", "texts", "query", "documents"),
    *("path", "paths", "encoding_format", "data", "out"),
}
LIMITS = ("memory_limit", "prompt_cache_limit", "buffer_limit", "wired_limit")
UNTOLD = 10_000
"""The figure of a memory limit that the worker was not asked for."""


def outcome_of(error: BaseException | None) -> Answer:
    """Return how an operation ended, as fields of the answer."""
    if error is None:
        return {"outcome": "ok"}
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, mlxwire.MlxwireError):
        return {"outcome": error.code, "message": str(error)}
    own = isinstance(error, asyncio.CancelledError)
    return {"outcome": "own" if own else "untyped", "message": told}


async def ended(operation: Awaitable[object]) -> BaseException | None:
    """Wait for an operation; return the error that it ended with."""
    try:
        await operation
    except BaseException as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the cell took too long
        return error
    return None


def stream_of(model: Model, cell: Cell, **options: Any) -> Any:
    """Make the stream of a cell's request; nothing is sent yet."""
    if "prompts" in cell:
        return getattr(model, cell["command"])(cell["prompts"], **options)
    method = model.chat if cell["command"] == "chat" else model.generate
    return method(cell["prompt"], **options)


async def received(worker: Worker) -> None:
    """Wait until the client has read all that the worker sent before, or its death."""
    with contextlib.suppress(mlxwire.MlxwireError):
        await worker.metrics()


class Consumer:
    """Reads one request in a task of its own, and stops after ``pause_after`` replies."""

    def __init__(self, model: Model, cell: Cell) -> None:
        self.taken = 0
        self.paused = asyncio.Event()
        self.go_on = asyncio.Event()
        self._cell = cell
        self.stream = stream_of(model, cell)
        self.collects = cell.get("collect", False)

    async def read(self) -> None:
        if self.collects:
            await (self.stream if "prompts" in self._cell else self.stream.text())
            return
        async for _ in self.stream:
            self.taken += 1
            if self.taken == self._cell["pause_after"]:
                self.paused.set()
                if self._cell["phase"] != "waiting":
                    await self.go_on.wait()


async def stop(cell: Cell) -> Answer:
    """Cut a request in one way, in one phase; tell what its consumer gets."""
    cause, phase = cell["cause"], cell["phase"]
    worker = Worker(restart=QUICK if cause == "restart" else None)
    async with worker:
        model = await worker.load("mock")
        consumer = Consumer(model, cell)
        if phase == "before":
            if cause != "signal":
                await cut(cause, worker, model, consumer)
            reading = asyncio.create_task(consumer.read())
            if cause == "signal":
                reading.cancel()
        else:
            reading = asyncio.create_task(consumer.read())
            if not consumer.collects:
                await consumer.paused.wait()
            await received(worker)
            if consumer.collects and phase == "finished":
                await asyncio.wait([reading])
            if cause == "signal":
                reading.cancel()
            else:
                await cut(cause, worker, model, consumer)
            consumer.go_on.set()
        error = await ended(reading)
        return {**outcome_of(error), "taken": consumer.taken}


async def cut(cause: str, worker: Worker, model: Model, consumer: Consumer) -> None:
    """Stop the consumer's request from outside of it."""
    if cause == "own_cancel":
        await consumer.stream.aclose()
    elif cause == "worker_cancel":
        await worker.cancel(consumer.stream.id)
    elif cause == "model_close":
        await model.close()
    elif cause == "worker_close":
        await worker.close()
    elif cause == "restart":
        await worker.restart(drain=0)
    elif cause == "sigkill":
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
    else:
        raise ValueError(f"no cause is called {cause!r}")
    await received(worker)


async def second_pass(cell: Cell) -> Answer:
    """Read a stream to its end, or leave it, and iterate over it again."""
    async with Worker() as worker:
        stream = stream_of(await worker.load("mock"), cell)
        taken = 0
        with contextlib.suppress(mlxwire.RequestCancelled):
            async for _ in stream:
                taken += 1
                if taken == 3 and cell["end"] == "error":
                    await worker.cancel(stream.id)
                elif cell["end"] == "break":
                    break
        replies = 0
        try:
            async for _ in stream:
                replies += 1
        except Exception as error:
            return {"second": "raises", "message": f"{type(error).__name__}: {error}"}
        return {"second": "replies" if replies else "empty"}


async def read(cell: Cell) -> Answer:
    """Read a request's replies, good or bad, beside another request in flight."""
    async with Worker(shutdown=ShutdownLimits(quit=0.5, close_stdin=0.5)) as worker:
        model = await worker.load("mock")
        beside = model.generate(cell["beside"])
        await anext(beside)
        taken = 0

        async def take() -> None:
            nonlocal taken
            options: dict[str, Any] = {"on_token": lambda _: None} if cell.get("stream") else {}
            if cell.get("tools"):
                options["tools"] = [ADD]
            async for _ in stream_of(model, cell, **options):
                taken += 1

        answer = outcome_of(await ended(take()))
        alive = await ended(worker.metrics()) is None
        other = None if alive else outcome_of(await ended(anext(beside)))["outcome"]
        return {**answer, "taken": taken, "beside": other}


async def read_answer(cell: Cell) -> Answer:
    """Read an answer with thoughts and tool calls by the client's own helpers."""
    async with Worker() as worker:
        model = await worker.load("mock")
        tools = {"tools": [ADD]} if cell["tools"] else {}
        stream = model.chat(cell["prompt"], **tools)
        error = await ended(stream.text())
        if error is not None:
            return outcome_of(error)
        calls = [[call.call_id, call.name, call.arguments] for call in await stream.calls()]
        broken = stream.tool_error
        return {
            **outcome_of(None),
            "text": await stream.text(),
            "thoughts": await stream.thoughts(),
            "calls": calls,
            "tool_error": None if broken is None else broken.message,
        }


class Shared:
    """The two workers that all cells of options share."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._workers: dict[str, tuple[Worker, Model]] = {}

    async def model(self, name: str) -> tuple[Worker, Model]:
        if name not in self._workers:
            command = os.environ["MLXWIRE_FRESH_WORKER"] if name == "mock" else None
            worker = await self._stack.enter_async_context(Worker(command))
            self._workers[name] = worker, await worker.load("mock")
        return self._workers[name]

    async def load_again(self, name: str) -> None:
        """Load a model in place of one that a cell has loaded."""
        worker, _ = self._workers[name]
        self._workers[name] = worker, await worker.load("mock")

    async def close(self) -> None:
        await self._stack.aclose()


async def option(cell: Cell, shared: Shared) -> Answer:
    """Give an option a value; tell what the worker saw, or how it was refused."""
    of, name, value = cell["of"], cell["option"], cell["value"]
    value = float(value) if value in ("nan", "inf") else value
    value = {1: value} if name == "logit_bias" else value
    value = {"decode": value} if name == "phases" else value
    given = {} if name is None else {name: value, **cell["beside"]}
    answer: Answer = {"option": name}
    if (of, name) == ("worker", "window"):
        return {**answer, "lacks": "the window follows from buffer_bytes"}
    seen: dict[str, Any] = {}
    error = await ended(give(of, given, cell, seen, shared))
    sent = seen.get(name)
    return {
        **answer,
        **outcome_of(error),
        "sent": sent["1"] if isinstance(sent, dict) else sent,
        "fields": sorted(set(seen) - ENVELOPE),
    }


async def give(
    of: str, given: dict[str, Any], cell: Cell, seen: dict[str, Any], shared: Shared
) -> None:
    """Call what takes the option. ``seen`` gets the request as the worker saw it."""
    workers: dict[str, Callable[[], Worker]] = {
        "worker": lambda: Worker(restart=RestartPolicy(), **given),
        "shutdown": lambda: Worker(shutdown=ShutdownLimits(**given)),
        "liveness": lambda: Worker(liveness=LivenessLimits(**given)),
        "restart": lambda: Worker(restart=RestartPolicy(**given)),
    }
    if of in workers:
        async with workers[of]():
            return
    worker, model = await shared.model(cell["worker"])
    if of == "load":
        loaded = (await worker.load("mock", **given)).loaded
        await shared.load_again(cell["worker"])
        if cell["worker"] == "obedient":
            seen.update(json.loads(loaded.path))
    elif of == "memory":
        figures = await worker.memory(**given)
        limits = {name: getattr(figures, name) for name in LIMITS}
        seen.update({name: value for name, value in limits.items() if value != UNTOLD})
    elif of == "metrics":
        await worker.metrics(**given)
    elif of == "train":
        trained = await model.train("d", out="o", **given).result()
        if cell["worker"] == "obedient":
            seen.update(json.loads(trained.adapter))
    elif of in ASKED:
        text = await ASKED[of](worker, model, cell, given)
        if cell["worker"] == "obedient":
            seen.update(json.loads(text))
    else:
        replies = [reply async for reply in stream_of(model, cell, **given)]
        if cell["worker"] == "obedient":
            seen.update(json.loads(replies[0].text))


async def ask_embed(_: Worker, model: Model, cell: Cell, given: dict[str, Any]) -> str:
    return "".join(
        map(chr, map(int, (await model.embed(cell["prompts"], **given).vectors())[0]))
    )


async def ask_score(_: Worker, model: Model, cell: Cell, given: dict[str, Any]) -> str:
    return (await model.score(cell["prompts"], **given))[0].pieces[0]


async def ask_rerank(_: Worker, model: Model, __: Cell, given: dict[str, Any]) -> str:
    ranked = await model.rerank("q", ["d"], **given)
    return "".join(chr(int(each.relevance_score)) for each in ranked)


async def ask_render(_: Worker, model: Model, __: Cell, given: dict[str, Any]) -> str:
    return (await model.render("p", **given)).prompt


async def ask_discover(worker: Worker, _: Model, __: Cell, given: dict[str, Any]) -> str:
    return (await worker.discover("d", **given))[0].path


async def ask_fit(worker: Worker, _: Model, __: Cell, given: dict[str, Any]) -> str:
    return (await worker.fit("d", **given)).path


ASKED = {
    "embed": ask_embed,
    "score": ask_score,
    "rerank": ask_rerank,
    "render": ask_render,
    "discover": ask_discover,
    "fit": ask_fit,
}
"""The calls whose reply has no text: each returns the words of the obedient worker."""


async def never(cell: Cell, _: Shared) -> Answer:
    """Wait with a time-out of 0 for a request that only a cancel ends."""
    options = {cell["option"]: 0}
    of_worker = cell["of"] == "worker"
    async with Worker(**(options if of_worker else {})) as worker:
        stream = stream_of(await worker.load("mock"), cell, **({} if of_worker else options))
        reading = asyncio.create_task(ended(anext(stream)))
        for _ in range(20):
            await received(worker)
        with contextlib.suppress(mlxwire.MlxwireError):
            await worker.cancel()
        return outcome_of(await reading)


async def policy(cell: Cell, _: Shared) -> Answer:
    """Crash a worker some times; tell what its policy made of each crash."""
    told: asyncio.Queue[WorkerChange] = asyncio.Queue()
    restart = RestartPolicy(**cell["policy"])
    changes, pauses = [], []
    async with Worker(restart=restart, on_change=told.put_nowait) as worker:
        model = await worker.load("mock")
        for crash in range(cell["crashes"]):
            # Another request each time: the same one alone at two crashes is a suspect.
            prompt = json.dumps({**json.loads(cell["prompt"]), "crash": crash})
            await ended(model.generate(prompt).text())
            change = await told.get()
            while change.kind not in ("restarting", "gave_up"):
                change = await told.get()
            changes.append(change.kind)
            pauses.append(change.delay)
    return {"changes": changes, "first_pause": pauses[0]}


async def run_cells() -> None:
    """Answer each cell of stdin with a line on stdout."""
    shared = Shared()
    alone = {"stop": stop, "second_pass": second_pass, "read": read, "answer": read_answer}
    sharing = {"option": option, "never": never, "policy": policy}
    for line in sys.stdin:
        cell = json.loads(line)
        do = cell["do"]
        try:
            async with asyncio.timeout(CELL_SECONDS):
                answer = await (alone[do](cell) if do in alone else sharing[do](cell, shared))
        except TimeoutError:
            answer = {"outcome": "hangs"}
        except Exception as error:
            answer = {"outcome": "untyped", "message": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps({"cell": cell["cell"], **answer}) + "\n")
        sys.stdout.flush()
    await shared.close()
