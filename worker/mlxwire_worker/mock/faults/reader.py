"""The worker's ear with faults: requests that are not heard, or late, and an end that is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ...process.reader import POLL_SECONDS, Reader, Sign
from .dialogue import Dialogue, Request
from .script import HeardFault, Ignore, Late
from .triggers import Triggers

BLANK = b"\n"
"""What is handed on in place of lines that are not heard: the wire ignores it."""


class FaultyReader(Reader):
    """Tells the dialogue of each request, and keeps from the loop what a fault swallows."""

    def __init__(
        self,
        wire_in: int,
        wire_out: int,
        *,
        stalled: Callable[[], bool],
        dialogue: Dialogue,
        triggers: Triggers,
        on_fault: Callable[[HeardFault, Request], None],
    ) -> None:
        super().__init__(wire_in, wire_out, stalled=stalled)
        self.ignores_end = False
        self._deaf = False
        self._turned_away = threading.Event()
        self._dialogue = dialogue
        self._triggers = triggers
        self._on_fault = on_fault
        self._partial = b""
        self._late: list[tuple[float, bytes]] = []

    def turn_deaf(self) -> None:
        """Hear nothing from now on; returns once no wait for input is under way."""
        self._deaf = True
        if threading.current_thread() is not threading.main_thread():
            self._turned_away.wait(4 * POLL_SECONDS)

    def wait(self, *, read: bool = True, timeout: float = POLL_SECONDS) -> Sign:
        """As the loop's own, but for what is late or may not be seen."""
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
        """The next lines that may be heard; empty at the end of the stream."""
        if self._late and self._late[0][0] <= time.monotonic():
            return self._late.pop(0)[1]
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
        with suppress(KeyError):  # it has stopped before
            self.ignore_input()
        self._turned_away.set()

    def _hear(self, line: bytes) -> bytes:
        request = self._dialogue.hear(line)
        for fault in self._triggers.of_request(request) if request else []:
            assert request is not None
            self._on_fault(fault, request)
            if isinstance(fault, Ignore):
                return b""
            if isinstance(fault, Late):
                self._late.append((time.monotonic() + fault.seconds, line))
                return b""
        return line
