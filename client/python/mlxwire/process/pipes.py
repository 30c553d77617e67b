"""Non-blocking ends of a child's pipes on an event loop: no thread, no line limit.

asyncio's streams stop reading when a buffer is full and cap a line at 64 KiB (lesson 4); these
always read, and a write never waits.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

READ_BYTES = 256 * 1024
LAST_READS = 64
"""How often a dead child's pipe is read at most: a grandchild may still be writing to it."""

T = TypeVar("T")


class PipeReader:
    """Hands on what arrives at a descriptor; ``on_end`` is called once, at its end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_bytes: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd: int | None = fd
        self._on_bytes = on_bytes
        self._on_end = on_end
        loop.add_reader(fd, self._readable)

    def read_rest(self) -> None:
        """Take what the pipe holds now, without waiting for its end."""
        for _ in range(LAST_READS):
            if not self._readable():
                return

    def close(self) -> None:
        """Stop listening. The descriptor is its owner's to close."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None

    def _readable(self) -> bool:
        """One read; whether there may be more."""
        if self._fd is None:
            return False
        try:
            chunk = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            chunk = b""
        if chunk:
            self._on_bytes(chunk)
            return True
        self.close()
        self._on_end()
        return False


class PipeWriter:
    """Writes whole lines in the order given; what the pipe does not take waits here.

    ``on_broken`` is called once when the other end is closed. Only the loop's thread may write,
    so lines never interleave.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, on_broken: Callable[[], None]
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd: int | None = fd
        self._on_broken = on_broken
        self._current = memoryview(b"")
        self._queue: deque[bytes] = deque()
        self._waiting = False

    def write(self, line: bytes) -> None:
        """Write, or keep for later. After the end it is dropped: the exit tells why."""
        if self._fd is None:
            return
        self._queue.append(line)
        self._flush()

    def close(self) -> None:
        """Stop, and drop what waits. The descriptor is its owner's to close."""
        self._stop_waiting()
        self._fd = None
        self._queue.clear()
        self._current = memoryview(b"")

    def _flush(self) -> None:
        assert self._fd is not None
        try:
            while self._current or self._queue:
                if not self._current:
                    self._current = memoryview(b"".join(self._queue))
                    self._queue.clear()
                written = os.write(self._fd, self._current)
                self._current = self._current[written:]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._fd, self._flush)
            self._waiting = True
            return
        except OSError:
            self.close()
            self._on_broken()
            return
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting:
            assert self._fd is not None
            self._loop.remove_writer(self._fd)
            self._waiting = False


def call_guarded(
    loop: asyncio.AbstractEventLoop, callback: Callable[[T], Any] | None, argument: T
) -> None:
    """Call what the user gave us; its exception goes to the loop's handler, not into ours."""
    if callback is None:
        return
    try:
        callback(argument)
    except Exception as error:
        loop.call_exception_handler(
            {"message": f"mlxwire: the callback {callback!r} failed", "exception": error}
        )
