"""The thread that an event loop runs on: who interrupts a call, and who stops it meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mlxwire
from mlxwire.sync.loop_thread import LoopThread
from support.patience import PATIENCE_SECONDS

A_MOMENT = 0.1
"""Seconds that another thread has to get ahead, where nothing holds it back."""


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.stop()


async def forever(begun: threading.Event, cancelled: threading.Event) -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()


def overtaken(thread: LoopThread, handed_on: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that hands work to the loop while another thread stops the loop."""
    stopping = threading.Thread(target=thread.stop)

    def handing_on(*args: Any) -> Any:
        if stopping.ident is None:
            stopping.start()
            stopping.join(A_MOMENT)
        return handed_on(*args)

    return handing_on


def test_an_interrupted_call_is_cancelled_on_the_loop(thread, monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()
    hand_over = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine, loop):
        future = hand_over(coroutine, loop)

        def control_c():
            assert begun.wait(PATIENCE_SECONDS)
            raise KeyboardInterrupt

        future.result = control_c
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.call(forever(begun, cancelled))
    monkeypatch.undo()
    assert cancelled.wait(PATIENCE_SECONDS)


def test_a_call_that_a_stop_ended_says_that_it_was_closed(thread):
    begun, cancelled = threading.Event(), threading.Event()
    stopping = threading.Thread(target=lambda: begun.wait(PATIENCE_SECONDS) and thread.stop())
    stopping.start()
    with pytest.raises(mlxwire.ShuttingDown):
        thread.call(forever(begun, cancelled))
    stopping.join()
    assert cancelled.is_set()


def test_a_stop_waits_until_every_task_has_cleaned_up(thread):
    begun, cleaned = threading.Event(), threading.Event()
    leaving, may_leave = threading.Event(), asyncio.Event()
    loop = thread._loop

    async def slow_to_leave() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            await may_leave.wait()
            cleaned.set()

    tasks: list[asyncio.Future[None]] = []
    thread.post(lambda: tasks.append(asyncio.ensure_future(slow_to_leave())))
    assert begun.wait(PATIENCE_SECONDS)
    stopping = threading.Thread(target=thread.stop)
    stopping.start()
    assert leaving.wait(PATIENCE_SECONDS)
    stopping.join(A_MOMENT)
    assert stopping.is_alive()
    loop.call_soon_threadsafe(may_leave.set)
    stopping.join()
    assert cleaned.is_set()


def test_a_task_that_fails_as_it_is_ended_does_not_fail_the_stop(thread):
    begun = threading.Event()
    tasks: list[asyncio.Future[None]] = []

    async def fails_to_leave() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("no way out")

    thread.post(lambda: tasks.append(asyncio.ensure_future(fails_to_leave())))
    assert begun.wait(PATIENCE_SECONDS)
    thread.stop()
    assert isinstance(tasks[0].exception(), RuntimeError)


def test_a_stop_may_not_overtake_a_call_on_its_way_to_the_loop(thread, monkeypatch):
    monkeypatch.setattr(
        asyncio,
        "run_coroutine_threadsafe",
        overtaken(thread, asyncio.run_coroutine_threadsafe),
    )

    async def answer() -> int:
        return 42

    assert thread.call(answer()) == 42


def test_a_stop_may_not_overtake_a_post_on_its_way_to_the_loop(thread, monkeypatch):
    posted = threading.Event()
    loop = thread._loop
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", overtaken(thread, loop.call_soon_threadsafe)
    )
    thread.post(posted.set)
    assert posted.wait(PATIENCE_SECONDS)


def test_a_stopped_thread_takes_no_calls_and_may_be_stopped_again(thread):
    thread.stop()
    thread.stop()
    thread.post(lambda: pytest.fail("there is no loop for it"))
    with pytest.raises(mlxwire.ShuttingDown):
        thread.call(asyncio.sleep(0))
