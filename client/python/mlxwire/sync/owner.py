"""What the blocking `Worker`, `Supervisor` and `Pool` share: a thread that their loop runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol, Self

from ..errors import ShuttingDown
from ..worker import not_started
from .loop_thread import LoopThread


class Closable(Protocol):
    """The asyncio side of it."""

    async def close(self) -> None: ...


class ThreadOwner:
    """Starts the thread, and ends it after what runs on it."""

    def __init__(self, owned: Closable) -> None:
        self._owned = owned
        self._thread: LoopThread | None = None

    def close(self) -> None:
        """End every worker, and the thread. Safe to call again."""
        thread = self._thread
        if thread is None:
            return
        try:
            with contextlib.suppress(ShuttingDown):  # closed before
                thread.call(self._owned.close())
        finally:
            thread.stop()

    def start(self) -> Self:
        """Begin; `with` does. Raises: as the asyncio client's own `start`."""
        if self._thread is not None:
            raise RuntimeError("this was started before; make a new one for another")
        self._thread = LoopThread()
        try:
            self._thread.call(self._begin())
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> Coroutine[Any, Any, object]:
        """What starts it on the loop."""
        raise NotImplementedError

    def _started(self) -> LoopThread:
        if self._thread is None:
            raise not_started()
        return self._thread
