"""The one owner of the pipe to the host: joins the lines that wait into few large writes.

Little is written by whoever puts it, where that can't block: waking a thread for each token
costs a hand-over of the interpreter's lock, 0.1 ms of each step.

Its backlog is bounded in bytes. Past ``room_bytes`` generation waits; past ``stall_bytes``
the reader stops reading requests, so a host that never reads its answers can't make it grow.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

WRITE_BYTES = 256 * 1024
ATOMIC_BYTES = select.PIPE_BUF
"""A pipe that polls writable takes this much without blocking: 4,096 on Linux, 512 on macOS."""
DIRECT_BYTES = 16 * 1024
"""What is written by the thread that puts it; more is the writer thread's."""


class Writer:
    """Writes lines to a descriptor in the order in which they were put, without blocking."""

    def __init__(
        self,
        fd: int,
        *,
        on_broken: Callable[[], None],
        on_room: Callable[[], None] = lambda: None,
        room_bytes: int = 1 << 20,
        stall_bytes: int = 4 << 20,
    ) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self.on_room = on_room
        self._room_bytes = room_bytes
        self._stall_bytes = stall_bytes
        # One buffer, not a list of lines: orjson gives each line at least 4 KiB, and a backlog of
        # short ones would hold forty times its bytes.
        self._buffer = bytearray()
        self._bytes = 0
        self._corks = 0
        self._writing = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # Two conditions over one lock: to wake the thread where there is nothing for it to write
        # takes the interpreter's lock from whoever generates, 0.1 ms of each step.
        lock = threading.Lock()
        self._has_lines = threading.Condition(lock)
        self._is_empty = threading.Condition(lock)
        self._lock = lock
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue whole lines; never blocks."""
        if not line:
            return
        with self._lock:
            self._buffer += line
            self._bytes += len(line)
            if self._corks or self._writing:
                return
            batch = self._take_direct()
        if batch:
            self._write_direct(batch)

    def cork(self) -> None:
        """Hold lines back until `uncork`, to write those of one step together."""
        with self._lock:
            self._corks += 1

    def uncork(self) -> None:
        """Write what was put since `cork`."""
        with self._lock:
            self._corks -= 1
            if self._corks or self._writing or not self._buffer:
                return
            batch = self._take_direct()
        if batch:
            self._write_direct(batch)

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
        with self._is_empty:
            return self._is_empty.wait_for(lambda: self._bytes == 0, timeout)

    def _take_direct(self) -> bytearray | None:
        """All that waits, if it is little; else the thread is woken for it."""
        if len(self._buffer) > DIRECT_BYTES:
            self._has_lines.notify()
            return None
        self._writing = True
        batch, self._buffer = self._buffer, bytearray()
        return batch

    def _write_direct(self, batch: bytearray) -> None:
        """Write as much as surely does not block, and leave the rest to the thread."""
        view, written = memoryview(batch), 0
        try:
            while written < len(view) and self._poll.poll(0):
                written += os.write(self._fd, view[written : written + ATOMIC_BYTES])
        except BlockingIOError:
            pass
        except OSError:
            self._on_broken()
        with self._lock:
            self._writing = False
            self._bytes -= written
            if written < len(view):
                self._buffer[:0] = view[written:]
            if self._buffer:
                self._has_lines.notify()
            elif not self._bytes:
                self._is_empty.notify_all()

    def _run(self) -> None:
        while True:
            with self._has_lines:
                self._has_lines.wait_for(lambda: self._buffer and not self._writing)
                self._writing = True
                batch = self._buffer[:WRITE_BYTES]
                del self._buffer[:WRITE_BYTES]
            try:
                self._write(batch)
            except OSError:
                self._on_broken()
                return
            with self._lock:
                had_room = self.has_room
                self._writing = False
                self._bytes -= len(batch)
                if self._bytes == 0:
                    self._is_empty.notify_all()
            if not had_room and self.has_room:
                self.on_room()

    def _write(self, batch: bytearray) -> None:
        view = memoryview(batch)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # the host made its end's description non-blocking
                self._poll.poll()
