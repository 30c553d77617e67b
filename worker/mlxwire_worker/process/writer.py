"""Owns the pipe to the host: queues lines, and writes them without blocking the caller.

Theory of operation. Two kinds of threads write. A thread that calls `put` or `uncork` writes up to
``DIRECT_BYTES`` itself, as long as the pipe polls writable: waking another thread for each token
costs a hand-over of the interpreter's lock, 0.1 ms of each step. The writer thread writes what
is left or more, in blocks of up to ``WRITE_BYTES``, and may wait there. `cork` and `uncork` join the
lines of one step into one write.

State, all under ``_lock``: ``_buffer`` holds lines that nobody has begun to write; ``_writing`` is
True while one thread holds a batch outside the lock; ``_bytes`` counts both. The order of events
for a batch: take it from the buffer and set ``_writing``; write without the lock; put back what was
not written and clear ``_writing``.

Invariants:
- Only the thread that has set ``_writing`` writes, so lines leave in the order in which they were
  put, and none is split by another.
- No `os.write` happens under the lock, and a direct write passes at most ``ATOMIC_BYTES`` to a pipe
  that polled writable, so `put` never blocks.
- ``_written`` grows with each part that the host's pipe takes, never in one leap at the end of a
  long write: `progress` tells a slow host from one that is away. So no write blocks for more than
  ``DIRECT_BYTES``: a pipe of our own description (`own_description`) does not block at all, and
  any other descriptor is polled before each part.
- The backlog is bounded by its readers: at ``room_bytes`` the scheduler stops generating (`has_room`),
  at ``stall_bytes`` the reader stops reading requests (`stalled`). A host that never reads its answers
  can't make it grow.

Threads: any thread puts; the session's lock orders the lines of one request. ``on_broken`` and
``on_room`` are called without the lock.

Hazards and what went wrong before:
- Every token woke the writer thread: 0.93 of mlx-lm's speed with one stream on a GPU.
- Later each direct write still notified it, which took the interpreter's lock: hence two conditions,
  and a notification only if something is left for the thread.
- A list of lines held 4 KiB for each short line (orjson's block), forty times its bytes: hence
  one bytearray.
- The host may make the pipe non-blocking, because both ends of an inherited pipe can share a
  description: hence `BlockingIOError` and a poll.
- A blocking write of 256 KiB returned after the last byte: a host that read a page a second
  looked like one that was away, and its answers were dropped with exit code 0.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

WRITE_BYTES = 256 * 1024
ATOMIC_BYTES = select.PIPE_BUF
"""Bytes that a pipe that polls writable takes without blocking: 4,096 on Linux, 512 on macOS."""
DIRECT_BYTES = 16 * 1024
"""The most bytes that the putting thread writes itself; more is left to the writer thread."""


class Writer:
    """Writes lines to a descriptor in the order in which they were put.

    ``on_broken`` is called when a write fails; ``on_room`` when the backlog falls below
    ``room_bytes`` again.
    """

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
        # A list of lines would hold forty times its bytes: orjson gives each at least 4 KiB.
        self._buffer = bytearray()
        self._bytes = 0
        self._written = 0
        self._corks = 0
        self._writing = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # Two conditions over one lock: waking the thread when it has nothing to write takes the
        # interpreter's lock from the engine's thread, 0.1 ms of each step.
        lock = threading.Lock()
        self._has_lines = threading.Condition(lock)
        self._is_empty = threading.Condition(lock)
        self._lock = lock
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue whole lines, and write them now if they are few; never block."""
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
        """Hold lines back until `uncork`, to write the lines of one step together."""
        with self._lock:
            self._corks += 1

    def uncork(self) -> None:
        """Write the lines that were put since `cork`, if this was the last cork."""
        with self._lock:
            self._corks -= 1
            if self._corks or self._writing or not self._buffer:
                return
            batch = self._take_direct()
        if batch:
            self._write_direct(batch)

    def has_room(self) -> bool:
        """Return True if the backlog is small enough to generate more."""
        return self._bytes < self._room_bytes

    def stalled(self) -> bool:
        """Return True if the backlog is so large that no more requests should be read."""
        return self._bytes >= self._stall_bytes

    def progress(self) -> tuple[int, int] | None:
        """Return figures that change as long as the host reads; None if no line waits.

        They are the bytes written so far and those that the system holds for the host: a byte
        taken out of a full pipe does not make room for another write yet.
        """
        if not self._bytes:
            return None
        return self._written, _unread(self._fd)

    def flush(self, timeout: float) -> bool:
        """Wait until all lines are written; return False after ``timeout`` seconds."""
        with self._is_empty:
            return self._is_empty.wait_for(lambda: self._bytes == 0, timeout)

    def _take_direct(self) -> bytearray | None:
        """Take the whole buffer if it is small; else wake the writer thread and return None."""
        if len(self._buffer) > DIRECT_BYTES:
            self._has_lines.notify()
            return None
        self._writing = True
        batch, self._buffer = self._buffer, bytearray()
        return batch

    def _write_direct(self, batch: bytearray) -> None:
        """Write as much as can't block, and leave the rest to the writer thread."""
        view, written = memoryview(batch), 0
        try:
            while written < len(view) and self._poll.poll(0):
                size = os.write(self._fd, view[written : written + ATOMIC_BYTES])
                written += size
                self._written += size
        except BlockingIOError:
            pass
        except OSError:
            self._on_broken()
        with self._lock:
            had_room = self.has_room()
            self._writing = False
            self._bytes -= written
            if written < len(view):
                self._buffer[:0] = view[written:]
            if self._buffer:
                self._has_lines.notify()
            elif not self._bytes:
                self._is_empty.notify_all()
        if not had_room and self.has_room():
            self._on_room()

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
                had_room = self.has_room()
                self._writing = False
                self._bytes -= len(batch)
                if self._bytes == 0:
                    self._is_empty.notify_all()
            if not had_room and self.has_room():
                self._on_room()

    def _write(self, batch: bytearray) -> None:
        view = memoryview(batch)
        while view:
            blocks = os.get_blocking(self._fd)
            if blocks:
                self._poll.poll()
            try:
                size = os.write(self._fd, view[:DIRECT_BYTES] if blocks else view)
            except BlockingIOError:
                self._poll.poll()
                continue
            self._written += size
            view = view[size:]


def own_description(fd: int) -> None:
    """Make writes to a pipe non-blocking for this process alone, where the system can do that.

    The flag belongs to the open file, which other processes may share: `(worker; echo) | reader`
    must not lose the echo. Linux opens the same pipe once more, under the same number.
    """
    if sys.platform != "linux" or not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return
    with suppress(OSError):  # no /proc, or a pipe of another user: the writer polls instead
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
        os.dup2(own, fd, inheritable=False)
        os.close(own)


def _unread(fd: int) -> int:
    """Return how many bytes the system holds for the other end; 0 if it does not tell."""
    import fcntl  # both are needed at the end of a worker's life alone
    import termios

    total = 0
    for request in (termios.FIONREAD, termios.TIOCOUTQ):  # of a pipe; of a socket or a terminal
        with suppress(OSError):
            total += int.from_bytes(fcntl.ioctl(fd, request, bytes(4)), sys.byteorder)
    return total
