"""The base classes of the written `mlxwire.sync`: they hold the asyncio object and its thread."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from typing import Any, Generic, Protocol, Self, TypeVar

from ..errors import NotInitialized, ShuttingDown
from ..process.postmortem import not_started
from .loop_thread import LoopThread

LEFT_ALONE = (ShuttingDown, NotInitialized)
"""Errors of a close that has nothing to do: all is closed, or belongs to the parent process."""


class Closable(Protocol):
    """An asyncio object that is entered and closed."""

    def __aenter__(self) -> Coroutine[Any, Any, object]: ...
    async def close(self) -> None: ...


A = TypeVar("A")
C = TypeVar("C", bound=Closable)


class ThreadUser(Generic[A]):
    """A blocking object whose calls run on the thread of its owner."""

    def __init__(self, thread: LoopThread, aio: A) -> None:
        self._thread = thread
        self._aio = aio


class ThreadOwner(Generic[C]):
    """A blocking object that starts a thread, and ends it after what runs on it."""

    def __init__(self, aio: C) -> None:
        self._aio = aio
        self._started: LoopThread | None = None

    def start(self) -> Self:
        """Start the thread, and what runs on it, as ``with`` does.

        A start that fails leaves neither a thread nor a process behind. Raises: RuntimeError if
        this was started before, and the errors of `mlxwire.Worker.start`.
        """
        if self._started is not None:
            raise RuntimeError(
                f"this {type(self).__name__} was started before; create a new one to start again"
            )
        self._started = LoopThread()
        try:
            self._thread.call(self._aio.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every worker process, and the thread. Safe to call again. A fork leaves them alone."""
        thread = self._started
        if thread is None or not thread.owner.here:
            return
        try:
            with contextlib.suppress(ShuttingDown):  # closed before
                thread.call(self._aio.close())
        finally:
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _thread(self) -> LoopThread:
        """The thread. Raises: NotInitialized before the start."""
        if self._started is None:
            raise not_started()
        return self._started
