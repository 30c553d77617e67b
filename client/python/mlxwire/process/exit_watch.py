"""Notice the exit of a child process without a thread or a signal handler.

Linux has a pidfd for that and macOS a kqueue. Both report the exit before the child is reaped,
while its pid can't belong to another process. Where neither works, a timer polls the child.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Callable

POLL_SECONDS = 0.05


class ExitWatch:
    """Calls ``on_exit`` once when the process has exited; does not reap the process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pid: int,
        on_exit: Callable[[], None],
        has_ended: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._on_exit = on_exit
        self._has_ended = has_ended
        self._fd: int | None = None
        self._kqueue: object = None
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._fd = self._open(pid)
        except OSError:
            self._poll()
            return
        loop.add_reader(self._fd, self._ended)

    def close(self) -> None:
        """Stop watching and close the descriptor."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            if self._kqueue is None:
                os.close(self._fd)
            self._fd = None
        self._close_kqueue()

    def _open(self, pid: int) -> int:
        """Return a descriptor that becomes readable at the exit. Raises: OSError."""
        if sys.platform == "linux":
            return os.pidfd_open(pid)
        if sys.platform == "darwin":
            self._kqueue = queue = select.kqueue()
            event = select.kevent(
                pid,
                filter=select.KQ_FILTER_PROC,
                flags=select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                fflags=select.KQ_NOTE_EXIT,
            )
            queue.control(
                [event], 0
            )  # fails if the child has exited already; then the timer sees it
            return queue.fileno()
        raise OSError("this system has no descriptor for a process's exit")

    def _close_kqueue(self) -> None:
        if sys.platform == "darwin" and isinstance(self._kqueue, select.kqueue):
            self._kqueue.close()
        self._kqueue = None

    def _poll(self) -> None:
        if self._has_ended():
            self._loop.call_soon(self._ended)
        else:
            self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def _ended(self) -> None:
        self.close()
        self._on_exit()
