"""The one owner of the pipe to the host: joins the lines that wait into few large writes.

Its backlog is bounded in bytes. Past ``room_bytes`` generation waits; past ``stall_bytes``
the reader stops reading requests, so a host that never reads its answers can't make it grow.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

WRITE_BYTES = 256 * 1024


class Writer:
    """A thread that writes lines to a descriptor in the order in which they were put."""

    def __init__(
        self,
        fd: int,
        *,
        on_broken: Callable[[], None],
        on_room: Callable[[], None],
        room_bytes: int = 1 << 20,
        stall_bytes: int = 4 << 20,
    ) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._on_room = on_room
        self._room_bytes = room_bytes
        self._stall_bytes = stall_bytes
        # One buffer, not a list of lines: orjson gives each line at least 4 KiB, and a backlog of
        # short ones would hold forty times its bytes.
        self._buffer = bytearray()
        self._bytes = 0
        self._waiting = False
        self._condition = threading.Condition(threading.Lock())
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue whole lines; never blocks."""
        if not line:
            return
        with self._condition:
            self._buffer += line
            self._bytes += len(line)
            if self._waiting:
                self._condition.notify_all()

    @property
    def has_room(self) -> bool:
        """Whether generation may go on."""
        return self._bytes < self._room_bytes

    @property
    def stalled(self) -> bool:
        """Whether so much waits that no more requests should be read."""
        return self._bytes >= self._stall_bytes

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put is written, at most ``timeout`` seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self._bytes == 0, timeout)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._buffer:
                    self._waiting = True
                    self._condition.wait()
                self._waiting = False
                batch = self._take()
            try:
                self._write(batch)
            except OSError:
                self._on_broken()
                return
            with self._condition:
                had_room = self.has_room
                self._bytes -= len(batch)
                if self._bytes == 0:
                    self._condition.notify_all()
            if not had_room and self.has_room:
                self._on_room()

    def _take(self) -> bytearray:
        batch = self._buffer[:WRITE_BYTES]
        del self._buffer[:WRITE_BYTES]
        return batch

    def _write(self, batch: bytearray) -> None:
        view = memoryview(batch)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # the host made its end's description non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
