"""Each way to stop an answer, in each phase: a loop ends well only after a whole answer."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
from mlxwire import sync
from support.memory_worker import MemoryWorker

STREAMS = ["generate", "chat", "batch", "classify", "embed", "score"]
COMMANDS = [*STREAMS, "awaited classify"]
Stream = Any


def ask(worker: MemoryWorker, command: str) -> Stream:
    """Return the stream of a command, or the task that waits for the list of an awaited one."""
    model = worker.model
    if command.startswith("awaited"):
        return asyncio.create_task(ask(worker, named(command)))
    method = getattr(model, command)
    return method("p") if command in ("generate", "chat") else method(["a", "b", "c"])


def named(command: str) -> str:
    """Return the command on the wire."""
    return command.split()[-1]


def reply(worker: MemoryWorker, command: str, request_id: str, place: int) -> None:
    item = ITEMS.get(named(command))
    if item is None:
        worker.tokens(request_id, "t", first=place)
    else:
        worker.reply(request_id, type="item", **item, index=place)


ITEMS = {
    "batch": {
        "text": "t",
        "token_ids": [1],
        "finish_reason": "stop",
        "tokens_generated": 1,
        "error": None,
    },
    "classify": {"token": "a", "token_id": 1, "logprob": 0.0},
    "embed": {"embedding": "AACAPw==", "tokens": 1},
    "score": {"token_ids": [1], "pieces": ["a"], "logprobs": [None], "perplexity": None},
}


async def consume(stream: Stream, taken: list[Any]) -> None:
    """Take all replies; of an awaited stream its list."""
    if isinstance(stream, asyncio.Task):
        taken += await stream
        return
    async for each in stream:
        taken.append(each)


async def closed(worker: MemoryWorker, request_id: str) -> None:
    closing = asyncio.create_task(worker.connection.close())
    await worker.process.request("quit")
    worker.done(request_id, "cancelled", stage="decode")
    worker.process.die(0)
    await closing


async def closed_without_a_word(worker: MemoryWorker, _: str) -> None:
    await worker.connection.close()


async def cancelled(worker: MemoryWorker, request_id: str) -> None:
    worker.done(request_id, "cancelled", stage="decode")


async def killed(worker: MemoryWorker, _: str) -> None:
    worker.process.die(-9)


End = Callable[[MemoryWorker, str], Awaitable[None]]
CUTS: dict[str, tuple[End, type[mlxwire.MlxwireError]]] = {
    "worker.cancel": (cancelled, mlxwire.RequestCancelled),
    "close": (closed, mlxwire.RequestCancelled),
    "close of a silent worker": (closed_without_a_word, mlxwire.RequestCancelled),
    "SIGKILL": (killed, mlxwire.WorkerCrashed),
}


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "waiting"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_raises_after_what_had_arrived(memory, cut, command, busy):
    worker = await memory()
    end, kind = CUTS[cut]
    stream, taken = ask(worker, command), []
    consuming = asyncio.create_task(consume(stream, taken))
    request_id = (await worker.process.request(named(command)))["id"]
    for place in range(2):
        reply(worker, command, request_id, place)
        if not busy:
            await asyncio.sleep(0)
    await end(worker, request_id)
    with pytest.raises(kind) as caught:
        await consuming
    if command.startswith("awaited"):
        assert [result.index for result in caught.value.results] == [0, 1]
    else:
        assert len(taken) == 2


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("cut", ["close", "close of a silent worker", "SIGKILL"])
async def test_a_final_that_was_received_wins_over_a_later_cut(memory, cut, command):
    worker = await memory()
    stream, taken = ask(worker, command), []
    consuming = asyncio.create_task(consume(stream, taken))
    request_id = (await worker.process.request(named(command)))["id"]
    for place in range(3):
        reply(worker, command, request_id, place)
    worker.done(request_id)
    if cut == "close":
        worker.process.held = set()
        await worker.connection.close()
    else:
        await CUTS[cut][0](worker, request_id)
    await consuming
    assert len(taken) == 3


@pytest.mark.parametrize("command", STREAMS)
@pytest.mark.parametrize("way", ["abandon", "aclose"])
@pytest.mark.parametrize("phase", ["before", "waiting", "busy", "finished"])
async def test_a_streams_own_cancel_raises_in_whoever_reads_on(memory, command, way, phase):
    worker = await memory(drain=0.01)
    stream = ask(worker, command)
    if phase != "before":
        await stream.__aenter__()
        request_id = (await worker.process.request(named(command)))["id"]
        if phase != "waiting":
            for place in range(2):
                reply(worker, command, request_id, place)
        if phase == "finished":
            worker.done(request_id)
    waiting = asyncio.create_task(anext(stream)) if phase == "waiting" else None
    await asyncio.sleep(0)
    try:
        cancel = getattr(stream, way)()
        if cancel is not None:
            await cancel
    except mlxwire.DrainTimeout:
        assert phase in ("waiting", "busy")
    with pytest.raises(mlxwire.RequestCancelled, match="its own stream"):
        await (waiting or anext(stream))
    with pytest.raises(mlxwire.RequestCancelled):
        await anext(stream)


@pytest.mark.parametrize("command", ["generate", "batch"])
async def test_a_cancel_of_an_answer_that_was_taken_whole_changes_nothing(memory, command):
    worker = await memory()
    stream = ask(worker, command)
    await stream.__aenter__()
    request_id = (await worker.process.request(named(command)))["id"]
    reply(worker, command, request_id, 0)
    worker.done(request_id)
    await anext(stream)
    stream.abandon()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("command", STREAMS)
async def test_a_task_that_cancels_itself_takes_no_more_of_what_has_arrived(
    memory, command, finished
):
    worker = await memory()
    stream, taken = ask(worker, command), []

    async def take_two() -> None:
        async for each in stream:
            taken.append(each)
            if len(taken) == 2:
                asyncio.current_task().cancel()

    consuming = asyncio.create_task(take_two())
    request_id = (await worker.process.request(named(command)))["id"]
    for place in range(3):
        reply(worker, command, request_id, place)
    if finished:
        worker.done(request_id)
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert len(taken) == 2
    with pytest.raises(mlxwire.RequestCancelled):
        await anext(stream)


async def test_a_cancel_that_the_task_has_caught_does_not_end_its_stream(memory):
    worker = await memory()
    stream = worker.model.generate("p")
    parked = asyncio.Event()

    async def carry_on() -> str:
        try:
            parked.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await stream.text()
        return ""

    consuming = asyncio.create_task(carry_on())
    await parked.wait()
    consuming.cancel()
    request_id = (await worker.process.request("generate"))["id"]
    worker.tokens(request_id, "a", "b")
    worker.done(request_id)
    assert await consuming == "ab"


@pytest.mark.parametrize("command", STREAMS)
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("twice", ["loop", "collect"])
async def test_a_second_pass_over_a_consumed_stream_is_an_error(
    memory, command, entered, twice
):
    worker = await memory()
    stream = ask(worker, command)
    if entered:
        await stream.__aenter__()
    consuming = asyncio.create_task(consume(stream, []))
    request_id = (await worker.process.request(named(command)))["id"]
    reply(worker, command, request_id, 0)
    worker.done(request_id)
    await consuming
    with pytest.raises(RuntimeError, match="iterated before"):
        await (consume(stream, []) if twice == "loop" else stream.take_all())
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_results_can_not_be_asked_for_twice(memory):
    worker = await memory()
    stream = worker.model.batch(["a"])
    collecting = asyncio.create_task(stream.results())
    request_id = (await worker.process.request("batch"))["id"]
    reply(worker, "batch", request_id, 0)
    worker.done(request_id)
    assert len(await collecting) == 1
    with pytest.raises(RuntimeError, match="iterated before"):
        await stream.results()


SLOW = ["--mock-step-seconds", "0.001"]
LONG: mlxwire.GenerateOptions = {"max_tokens": 4000, "ignore_eos": True}


def blocking(model: sync.Model, command: str) -> Any:
    return {
        "generate": lambda: model.generate("p", **LONG),
        "chat": lambda: model.chat("p", **LONG),
        "batch": lambda: model.batch(["p"] * 3000, max_tokens=4, ignore_eos=True),
    }[command]()


def take_on(stream: Any) -> None:
    for _ in itertools.count():
        next(stream)


@pytest.mark.parametrize("command", ["generate", "chat", "batch"])
@pytest.mark.parametrize("way", ["worker.cancel", "close", "own close", "restart"])
def test_a_blocking_loop_that_is_cut_raises(command, way):
    policy = mlxwire.RestartPolicy() if way == "restart" else None
    kind = mlxwire.WorkerCrashed if way == "restart" else mlxwire.RequestCancelled
    with sync.Worker(engine="mock", args=SLOW, restart=policy) as worker:
        model = worker.load("any", context_len=10_000)
        stream = blocking(model, command)
        cut = {
            "worker.cancel": worker.cancel,
            "close": worker.close,
            "own close": stream.close,
            "restart": lambda: worker.restart(drain=0),
        }[way]
        next(stream)
        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(kind):
            take_on(stream)
        cutting.join()


@pytest.mark.parametrize("command", ["generate", "chat", "batch"])
def test_a_blocking_stream_that_has_ended_is_whole_though_its_worker_was_closed(command):
    with sync.Worker(engine="mock") as worker:
        model = worker.load("any")
        stream = (
            model.batch(["a b"] * 3) if command == "batch" else getattr(model, command)("a b c")
        )
        with stream:
            pass_on = [next(stream)]
            while worker.metrics().in_flight:
                pass
        again = model.generate("a b c")
        first = next(again)
        while worker.metrics().in_flight:
            pass
    assert pass_on
    assert [first.text, *(token.text for token in again)] == ["a", " b", " c"]
    with pytest.raises(RuntimeError, match="iterated before"):
        list(again)
