"""The steps by which a connection ends its worker, over a process in memory."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

import mlxwire
from mlxwire.connection.handshake import greet
from mlxwire.process.postmortem import hangs
from mlxwire.process.shutdown import MOST_TURNS, ShutdownLimits, end_process
from mlxwire.requests.pending import ask
from support.fake_process import HELLO
from support.memory_worker import MemoryWorker


class Stubborn:
    """Makes a worker's process ignore signals; each is noted."""

    def __init__(self, worker: MemoryWorker) -> None:
        self.signals: list[signal.Signals] = []
        self.came = asyncio.Event()
        self._worker = worker
        worker.process.signal_group = self._ignore  # type: ignore[method-assign]

    def _ignore(self, number: signal.Signals) -> None:
        self.signals.append(number)
        self.came.set()
        if number == signal.SIGKILL:
            self._worker.process.die(-number)


async def greeting(worker: MemoryWorker) -> tuple[asyncio.Task[Any], str]:
    """Begin a handshake; return its task and its request's id."""
    task = asyncio.create_task(
        greet(worker.connection, version="1", require=[], events=[], seconds=60)
    )
    return task, (await worker.process.request("hello"))["id"]


def commands(worker: MemoryWorker) -> list[str]:
    return [request["cmd"] for request in worker.process.requests]


async def test_an_abort_goes_on_where_its_caller_is_cancelled():
    worker = MemoryWorker()
    stubborn = Stubborn(worker)
    aborting = asyncio.create_task(worker.connection.abort())
    await stubborn.came.wait()
    aborting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await aborting
    assert stubborn.signals == [signal.SIGTERM]
    worker.process.die(0)
    await worker.connection.close()
    assert stubborn.signals == [signal.SIGTERM]


async def test_a_worker_that_is_not_asked_to_quit_has_its_stdin_closed_before_any_signal(
    monkeypatch,
):
    worker = MemoryWorker()
    steps: list[object] = []
    monkeypatch.setattr(worker.process, "close_stdin", lambda: steps.append("end of stdin"))
    monkeypatch.setattr(
        worker.process,
        "signal_group",
        lambda number: (steps.append(number), worker.process.die(0)),
    )
    await worker.connection.abort()
    assert steps == ["end of stdin", signal.SIGTERM]


async def test_a_worker_that_has_not_answered_hello_is_not_asked_to_quit():
    worker = MemoryWorker()
    task, _ = await greeting(worker)
    await worker.connection.close()
    with pytest.raises(mlxwire.RequestCancelled):
        await task
    assert commands(worker) == []
    assert worker.process.returncode == -signal.SIGTERM


async def test_a_worker_that_hangs_is_not_asked_to_quit(memory):
    worker = await memory()
    worker.connection.condemn(hangs("hangs", stderr_tail=""))
    await worker.connection.close()
    assert commands(worker) == []
    assert worker.process.returncode == -signal.SIGTERM


async def test_an_exit_under_a_close_is_no_crash(memory):
    worker = await memory()
    crashes: list[mlxwire.MlxwireError] = []
    worker.connection.on_failure = crashes.append
    closing = asyncio.create_task(worker.connection.close())
    await asyncio.sleep(0)
    worker.process.die(1)  # before it could be asked to quit
    await closing
    await asyncio.sleep(0)
    assert isinstance(worker.connection.failure, mlxwire.ShuttingDown)
    assert crashes == []


async def test_a_worker_that_has_exited_is_sent_no_signal(memory):
    worker = await memory()
    stubborn = Stubborn(worker)
    worker.process.die(3)
    await worker.connection.close()
    assert stubborn.signals == []


async def test_a_pipe_that_an_exit_closed_is_no_offence(memory, monkeypatch):
    monkeypatch.setattr("mlxwire.connection.connection.LOST_PIPE_GRACE", 0)
    worker = await memory()
    asking = asyncio.create_task(worker.model.info())
    await worker.process.request("info")
    worker.connection.pipe_lost("stdout")
    worker.connection.pipe_lost("stdin")
    worker.process.die(3)
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await asking
    assert caught.value.exit_code == 3


async def test_a_pipe_that_closes_while_the_worker_is_closed_changes_no_reason(monkeypatch):
    monkeypatch.setattr("mlxwire.connection.connection.LOST_PIPE_GRACE", 0)
    worker = MemoryWorker()
    stubborn = Stubborn(worker)
    task, _ = await greeting(worker)
    closing = asyncio.create_task(worker.connection.close())
    await stubborn.came.wait()
    worker.connection.pipe_lost("stdout")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    worker.process.die(0)
    with pytest.raises(mlxwire.RequestCancelled):
        await task
    await closing


async def test_what_is_pending_fails_though_nothing_can_end_the_process(memory, monkeypatch):
    worker = await memory()
    released = []

    async def never(_seconds: float) -> bool:
        return False

    monkeypatch.setattr(worker.process, "write", lambda _: None)
    monkeypatch.setattr(worker.process, "wait", never)
    monkeypatch.setattr(worker.process, "signal_group", lambda _: None)
    monkeypatch.setattr(worker.process, "release", lambda: released.append(True))
    asking = asyncio.create_task(worker.model.info())
    await asyncio.sleep(0)
    await worker.connection.close()
    with pytest.raises(mlxwire.RequestCancelled):
        await asking
    assert released == [True]


@pytest.mark.parametrize("spoil", [{"worker": None}, {"capabilities": []}, {"limits": 7}])
async def test_a_hello_of_another_shape_is_no_handshake(spoil: dict[str, Any]):
    worker = MemoryWorker()
    task, request_id = await greeting(worker)
    worker.reply(request_id, **({**HELLO, "capabilities": {}} | spoil))
    with pytest.raises(mlxwire.HandshakeFailed, match="is no HelloResult"):
        await task
    await worker.connection.abort()


async def test_an_event_of_another_shape_ends_the_worker_and_is_not_heard(memory):
    heard: list[mlxwire.Event] = []
    worker = await memory(on_event=heard.append)
    worker.reply(None, type="event", event="known", data={})
    worker.reply(None, type="event", event=7, data={})
    worker.reply(None, type="event", event="late", data={})
    assert [event.event for event in heard] == ["known"]
    assert isinstance(worker.connection.failure, mlxwire.ProtocolViolation)


async def test_events_that_nobody_listens_to_are_dropped(memory):
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    worker = await memory()
    worker.reply(None, type="event", event="known", data={})
    assert complaints == []


async def test_a_request_that_is_asked_as_its_worker_dies_is_not_sent(memory):
    worker = await memory()
    failed: list[mlxwire.MlxwireError] = []
    worker.connection.on_failure = failed.append
    worker.process.die(3)
    await asyncio.sleep(0)
    assert len(failed) == 1
    with pytest.raises(mlxwire.WorkerCrashed):
        await ask(worker.connection, "info", {})
    assert commands(worker) == []
    assert worker.connection.in_flight == 0


async def test_what_a_closed_worker_owed_is_told_of_the_closing_and_not_of_an_exit(
    memory, monkeypatch
):
    worker = await memory()
    quits = asyncio.Event()
    asking = asyncio.create_task(worker.model.info())
    await worker.process.request("info")
    monkeypatch.setattr(worker.process, "write", lambda _: quits.set())
    closing = asyncio.create_task(worker.connection.close())
    await quits.wait()
    worker.connection.process_exited(0)
    (told,) = await asyncio.gather(asking, return_exceptions=True)
    worker.process.die(0)
    await closing
    assert isinstance(told, mlxwire.RequestCancelled)


async def test_a_worker_that_could_not_be_spawned_may_be_closed(tmp_path):
    worker = mlxwire.Worker([str(tmp_path / "nothing")])
    with pytest.raises(mlxwire.SpawnFailed):
        await worker.start()
    await worker.close()


async def test_each_stream_that_a_close_cut_off_has_an_exception_of_its_own(
    memory, monkeypatch
):
    worker = await memory()
    asking = [asyncio.create_task(worker.model.generate("p").text()) for _ in range(2)]
    requests = [await worker.process.request("generate") for _ in asking]

    def end_them_and_exit(_: bytes) -> None:
        for request in requests:
            worker.done(request["id"], "cancelled", stage="decode")
        asyncio.get_running_loop().call_soon(worker.process.die, 0)

    monkeypatch.setattr(worker.process, "write", end_them_and_exit)
    await worker.connection.close()
    first, second = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, mlxwire.RequestCancelled)
    assert isinstance(second, mlxwire.RequestCancelled)
    assert first is not second


@pytest.mark.parametrize(
    ("left", "waits"),
    [
        ([4, 4], 1),
        ([4, 0], 1),
        ([4, 3, 3, 2, 2, 2], 3),
        ([4, 3, 3, 0], 2),
        (list(range(200, 100, -1)), MOST_TURNS),
    ],
)
async def test_a_worker_that_still_sends_finals_is_waited_for_but_not_for_ever(left, waits):
    steps: list[object] = []

    class Process:
        def close_stdin(self) -> None:
            steps.append("end of stdin")

        def signal_group(self, number: signal.Signals) -> None:
            steps.append(number)

        async def wait(self, seconds: float) -> bool:
            steps.append(seconds)
            return signal.SIGTERM in steps

    limits = ShutdownLimits(quit=7)
    counts = iter(left)
    assert await end_process(
        Process(), limits, say_quit=lambda: None, in_flight=lambda: next(counts)
    )
    assert steps[: waits + 1] == [7] * waits + ["end of stdin"]
