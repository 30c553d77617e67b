"""A reader with faults: requests that are ignored or delayed, and an unnoticed end of stdin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ...process.parent import ParentWatch
from ...process.reader import POLL_SECONDS, Reader, Sign
from .dialogue import Dialogue, Request
from .script import HeardFault, Ignore, Late
from .triggers import Triggers

BLANK = b"\n"
"""A blank line, returned in place of ignored lines: the connection ignores it."""


class FaultyReader(Reader):
    """Records each request in the dialogue, and ignores or delays requests that have a fault.

    ``on_fault`` is called with each fault that is due at a request, and with that request.
    """

    def __init__(
        self,
        wire_in: int,
        wire_out: int,
        parent: ParentWatch,
        *,
        stalled: Callable[[], bool],
        drains: bool,
        dialogue: Dialogue,
        triggers: Triggers,
        on_fault: Callable[[HeardFault, Request], None],
    ) -> None:
        super().__init__(wire_in, wire_out, parent, stalled=stalled, drains=drains)
        self.ignores_end = False
        self._deaf = False
        self._turned_away = threading.Event()
        self._dialogue = dialogue
        self._triggers = triggers
        self._on_fault = on_fault
        self._partial = b""
        self._late: list[tuple[float, bytes, Request]] = []

    def turn_deaf(self) -> None:
        """Stop reading; return once no other thread is waiting for input."""
        self._deaf = True
        if threading.current_thread() is not threading.main_thread():
            self._turned_away.wait(4 * POLL_SECONDS)

    def wait(self, *, read: bool = True, timeout: float = POLL_SECONDS) -> Sign:
        """Wait as `Reader.wait` does, but wake for delayed lines and hide what is ignored."""
        if self._deaf:
            self._stop_listening()
            read = False
        if read and self._late:
            left = self._late[0][0] - time.monotonic()
            if left <= 0:
                return "data"
            timeout = min(timeout, left)
        sign = super().wait(read=read, timeout=timeout)
        if sign not in ("data", "end"):
            return sign
        self._deaf = self._deaf or (sign == "end" and self.ignores_end)
        if self._deaf:
            return "idle"
        return "data" if self._partial else sign

    def read(self) -> bytes:
        """Return the next lines that are not withheld; empty at the end of the stream."""
        if self._late and self._late[0][0] <= time.monotonic():
            _, line, request = self._late.pop(0)
            self._dialogue.open(request)
            return line
        chunk = super().read()
        if not chunk and self.ignores_end:
            self._deaf = True
            return BLANK
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if not chunk:
            last, self._partial = self._partial, b""
            return last
        return b"".join(self._hear(line + b"\n") for line in lines) or BLANK

    def _stop_listening(self) -> None:
        with suppress(KeyError):  # the input may be unregistered already
            self.ignore_input()
        self._turned_away.set()

    def _hear(self, line: bytes) -> bytes:
        request = self._dialogue.hear(line)
        for fault in self._triggers.of_request(request) if request else []:
            assert request is not None
            self._on_fault(fault, request)
            if isinstance(fault, Ignore | Late):
                self._dialogue.forget(request)
            if isinstance(fault, Ignore):
                return b""
            if isinstance(fault, Late):
                self._late.append((time.monotonic() + fault.seconds, line, request))
                return b""
        return line
