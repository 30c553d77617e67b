"""The two pipes between a program and the process that started it: a task comes in, events go out.

Each is one JSON object a line. The program that trains adds cancels to them; a program that the
command line starts is interrupted by the end of its stdin, so that it removes what it has written.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import msgspec

from mlxwire_protocol import WireError, error_body

MOST_BYTES = 1 << 24
"""The largest accepted task."""


class Pipes:
    """The pipes to the process that started this one; the second may be missing."""

    def __init__(self, wire_in: int, wire_out: int | None) -> None:
        self._in = wire_in
        self._out = wire_out
        self._rest = b""
        self._lock = threading.Lock()

    def read_line(self) -> bytes:
        """Return the next line without its end; empty once the pipe has ended."""
        while b"\n" not in self._rest and len(self._rest) < MOST_BYTES:
            read = os.read(self._in, 1 << 16)
            if not read:
                return b""
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def interrupt_at_end(self) -> None:
        """Interrupt the main thread once, at SIGINT, SIGTERM or the end of stdin.

        A second sign must not interrupt what removes unfinished files.
        """

        def interrupt(*_: object) -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        threading.Thread(target=self._await_end, name="starter", daemon=True).start()

    def _await_end(self) -> None:
        while self.read_line():
            pass
        # A real signal also ends a write to a pipe that nobody reads.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def progress(self, stage: str, done: float, total: float, **figures: Any) -> None:
        """Report how far a stage is."""
        self._send(
            {"event": "progress", "stage": stage, "done": done, "total": total, **figures}
        )

    def result(self, figures: dict[str, Any]) -> None:
        """Send the last event of a run that came to its end."""
        self._send({"event": "result", **figures})

    def error(self, error: WireError) -> None:
        """Send the last event of a run that failed."""
        self._send({"event": "error", **msgspec.structs.asdict(error_body(error))})

    def _send(self, event: dict[str, Any]) -> None:
        """Send an event; if nobody reads it, end as `lost` says."""
        if self._out is None:
            return
        left = memoryview(msgspec.json.encode(event) + b"\n")
        with self._lock:
            try:
                while left:
                    left = left[os.write(self._out, left) :]
            except OSError:
                self.lost()

    def lost(self) -> None:
        """End the run, because nobody reads its events. Raises: KeyboardInterrupt."""
        raise KeyboardInterrupt
