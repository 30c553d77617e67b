"""Run an event loop in a thread of its own, for programs that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..errors import NotInitialized
from ..process.owner import Owner
from ..process.postmortem import closed_by_host

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread, and blocking calls into it from any other thread."""

    def __init__(self) -> None:
        self.owner = Owner()
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="mlxwire", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """True until `stop`."""
        return self._loop is not None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result.

        An exception in the calling thread, such as Ctrl-C, cancels the coroutine.
        Raises: ShuttingDown if the loop was stopped, RuntimeError in a callback of the loop,
        NotInitialized in a fork, where no thread of the parent runs.
        """
        try:
            self.owner.check()  # first: another thread may have held the lock at the fork
        except NotInitialized:
            coroutine.close()
            raise
        with self._lock:
            if self._loop is None:
                coroutine.close()
                raise closed_by_host()
            if threading.current_thread() is self._thread:
                coroutine.close()
                raise RuntimeError(
                    "a callback may not call the worker that it is called by: it would wait for "
                    "itself. Make the call from another thread"
                )
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:  # by `stop`, in another thread
            raise closed_by_host() from None
        except BaseException:
            future.cancel()
            raise

    def post(self, callback: Callable[[], None]) -> None:
        """Run a callback on the loop without waiting; do nothing if it was stopped, or in a fork."""
        if not self.owner.here:
            return
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback)

    def stop(self) -> None:
        """Cancel every task, and end the loop and its thread. Safe to call again, and in a fork."""
        if not self.owner.here:
            return
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


async def _cancel_others() -> None:
    """Cancel all other tasks and see them out, so that none is destroyed while pending."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
