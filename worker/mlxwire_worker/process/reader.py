"""Reads the host's requests and notices its death, whatever the engine is doing.

Three signs end the worker: stdin's end, a broken stdout, and a *change* of the parent's pid
(right also where the first parent was pid 1). Each is looked for at least every
``POLL_SECONDS``, also while requests are left unread behind a stalled writer.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Literal

POLL_SECONDS = 0.25
READ_BYTES = 1 << 18
_HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # a half-closed socket, on Linux

Sign = Literal["data", "stalled", "end", "stdout_broken", "parent_gone", "idle"]


class Reader:
    """Waits on the wire's two descriptors and on the parent."""

    def __init__(self, wire_in: int, wire_out: int, *, stalled: Callable[[], bool]) -> None:
        self._in = wire_in
        self._out = wire_out
        self._stalled = stalled
        self._parent = os.getppid()
        self._poll = select.poll()
        self._poll.register(wire_out, 0)

    def wait(self, *, read: bool = True, timeout: float = POLL_SECONDS) -> Sign:
        """What there is now: at most ``timeout`` seconds later. ``read`` false ignores data."""
        stalled = self._stalled()
        wanted = select.POLLIN if read and not stalled else _PEER_CLOSED
        if read:
            self._poll.register(self._in, wanted)
        seen = dict(self._poll.poll(min(timeout, 0.02 if stalled else timeout) * 1000))
        if seen.get(self._out, 0) & _HANG_UP:
            return "stdout_broken"
        if os.getppid() != self._parent:
            return "parent_gone"
        if not read:
            return "idle"
        state = seen.get(self._in, 0)
        if state & select.POLLIN:
            return "data"
        if state & (_HANG_UP | _PEER_CLOSED):
            return "end"
        return "stalled" if stalled else "idle"

    def read(self) -> bytes:
        """The next bytes; empty at the end of the stream."""
        while True:
            try:
                return os.read(self._in, READ_BYTES)
            except BlockingIOError:  # another reader of the host's description was faster
                self._poll.poll(POLL_SECONDS * 1000)
            except OSError:
                return b""

    def ignore_input(self) -> None:
        """Watch stdout and the parent only, from now on."""
        self._poll.unregister(self._in)
