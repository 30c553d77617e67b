"""Read and write a child's pipes on an event loop, without threads and without line limits.

asyncio's own streams stop reading when a buffer is full, and limit a line to 64 KiB
(docs/lessons.md 4). The reader here always reads, and a write here never waits.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

READ_BYTES = 256 * 1024
LAST_READS = 64
"""Most reads of a dead child's pipe: a grandchild may hold the other end and keep writing."""


class PipeReader:
    """Calls ``on_bytes`` with what arrives at a descriptor, and ``on_end`` once at its end."""

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
        """Read what the pipe holds now; do not wait for its end."""
        for _ in range(LAST_READS):
            if not self._readable():
                return

    def close(self) -> None:
        """Stop reading. The descriptor's owner closes the descriptor."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None

    def _readable(self) -> bool:
        """Read once; return True if more may be there."""
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
    """Writes lines in the order given, and keeps what the pipe does not accept yet.

    ``on_broken`` is called once if the other end is closed. Only the loop's thread may write,
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
        """Write a line now or as soon as the pipe accepts it; drop it if the pipe is closed."""
        if self._fd is None:
            return
        self._queue.append(line)
        self._flush()

    def close(self) -> None:
        """Stop writing and drop what waits. The descriptor's owner closes the descriptor."""
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
