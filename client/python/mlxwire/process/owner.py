"""Tell the process that started a worker from its forks, which may not use that worker.

A fork has copies of the pipes, but no threads and no running loop. Its writes would cut the lines of
its parent in two, and the replies that it waits for would never come.
"""

from __future__ import annotations

import asyncio
import os

from ..errors import NotInitialized


class Owner:
    """The process in which this object was made."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """True in that process, False in a fork of it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Check the running process. Raises: NotInitialized in a fork."""
        if not self.here:
            raise NotInitialized(
                f"this worker belongs to the process {self._pid}, and this process is a fork of "
                "it: start another worker here, or fork before the first worker is started"
            )

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check the running process and the running loop.

        Raises: NotInitialized in a fork, RuntimeError on any loop but ``loop``.
        """
        self.check()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not loop:
            raise RuntimeError(
                "this worker was started on another event loop and can only be used there; "
                "start one worker for each loop, or use mlxwire.sync"
            )
