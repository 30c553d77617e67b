"""Reads the host's requests and notices the host's death, whatever the engine is doing.

Theory of operation. The main thread alone calls `wait` and `read`, in a loop: `wait` returns one
`Sign`, and the caller acts on it. It never blocks for longer than ``timeout``, so every sign below is
looked for at least every ``POLL_SECONDS``, and the caller sends heartbeats in between.

Signs, in the order in which they are checked:
- `stdout_broken`: the host closed its end of stdout. Nothing can be answered: exit at once
  (`exit_if_abandoned`, SPEC §9).
- `parent_gone`: the host has ended (`parent.ParentWatch`), whoever still holds its pipes.
- `data`, `end`: stdin has bytes, or has ended. Bytes come first, so the last requests are read.
- `stalled`: the writer's backlog is full. Input is not read, so a host that never reads answers
  can't make the backlog grow; but the signs of its death are still looked for, every 20 ms.
- `hung_up`: the same, and the host has closed its end of stdin. What it wrote before is still to
  be read, so with ``drains`` this is no `end` yet; the caller watches whether the host reads
  (`patience.Patience`).
- `idle`: nothing happened within ``timeout``.

Invariants. `wait` takes no bytes from stdin; `read` is called only after `data`. `read` returns b""
only at the end of the stream. The engine's thread is never involved: a step that hangs, or a
native call that releases the interpreter's lock, delays no sign.

Hazards and what went wrong before: hosts that were killed left workers with gigabytes of weights
(docs/lessons.md 31, 32, 36). A pipe is a shared description: another process may have made it
non-blocking or read from it first, so `read` expects `BlockingIOError`. A native call that keeps the
interpreter's lock stops this thread; that is why pipes are never opened as files, and long texts are
tokenized without the lock.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Literal

from .parent import ParentWatch

EXIT_STDOUT_BROKEN = 3
EXIT_PARENT_GONE = 4
POLL_SECONDS = 0.25
READ_BYTES = 1 << 18
_HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # a half-closed socket, on Linux

Sign = Literal["data", "stalled", "hung_up", "end", "stdout_broken", "parent_gone", "idle"]


class Reader:
    """Watches the wire's two descriptors and the host's process.

    ``stalled`` is called before each wait; while it returns True, input is not read. With
    ``drains`` the sign `end` comes after all that the host wrote was read.
    """

    def __init__(
        self,
        wire_in: int,
        wire_out: int,
        parent: ParentWatch,
        *,
        stalled: Callable[[], bool],
        drains: bool = False,
    ) -> None:
        self._in = wire_in
        self._out = wire_out
        self._parent = parent
        self._stalled = stalled
        self._drains = drains
        self._hung_up = False
        self._poll = select.poll()
        self._poll.register(wire_out, 0)
        if parent.fd is not None:
            self._poll.register(parent.fd, select.POLLIN)

    def wait(self, *, read: bool = True, timeout: float = POLL_SECONDS) -> Sign:
        """Return the first sign within ``timeout`` seconds; without ``read`` ignore stdin."""
        stalled = self._stalled()
        hung_up = stalled and self._hung_up
        if read and not hung_up:  # a pipe that was hung up would end each poll at once
            self._poll.register(self._in, _PEER_CLOSED if stalled else select.POLLIN)
        seen = dict(self._poll.poll(min(timeout, 0.02 if stalled else timeout) * 1000))
        if seen.get(self._out, 0) & _HANG_UP:
            return "stdout_broken"
        if self._parent.fd in seen or (self._parent.fd is None and self._parent.is_gone()):
            return "parent_gone"
        if not read:
            return "idle"
        state = seen.get(self._in, 0)
        if state & select.POLLIN:
            return "data"
        if state & (_HANG_UP | _PEER_CLOSED):
            if not (stalled and self._drains):
                return "end"
            self._hung_up = hung_up = True
            self.ignore_input()
        if hung_up:
            return "hung_up"
        return "stalled" if stalled else "idle"

    def read(self) -> bytes:
        """Return the next bytes of stdin; empty at its end."""
        while True:
            try:
                return os.read(self._in, READ_BYTES)
            except BlockingIOError:  # another process has read the bytes first
                self._poll.poll(POLL_SECONDS * 1000)
            except OSError:
                return b""

    def ignore_input(self) -> None:
        """Stop watching stdin; stdout and the parent are still watched."""
        self._poll.unregister(self._in)


def exit_if_abandoned(sign: Sign) -> None:
    """Exit at once if a sign says that the host is gone; nobody would read more output."""
    if sign == "stdout_broken":
        os._exit(EXIT_STDOUT_BROKEN)
    if sign == "parent_gone":
        os._exit(EXIT_PARENT_GONE)
