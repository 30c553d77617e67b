"""The pipes between this process and the worker that started it.

One line comes in, the specification; later a line `cancel`, or the end, because the worker died.
Events go out, one JSON object a line.
"""

from __future__ import annotations

import os
import threading

from ..engine import Cancelled
from ..process.child.pipes import Pipes

EXIT_WORKER_GONE = 3


class Worker(Pipes):
    """The worker at the other end of two pipes, of which one may be missing."""

    def __init__(self, wire_in: int, wire_out: int | None) -> None:
        super().__init__(wire_in, wire_out)
        self._cancel = threading.Event()

    def watch(self) -> None:
        """Listen from now on, in a thread: note a cancel, and end the process with the worker."""
        threading.Thread(target=self._listen, name="worker", daemon=True).start()

    def _listen(self) -> None:
        try:
            while line := self.read_line():
                if line.strip() == b"cancel":
                    self._cancel.set()
        except OSError:
            pass
        self.lost()

    def lost(self) -> None:
        """End the process: nothing may outlive the worker, and nothing is worth a wait."""
        os._exit(EXIT_WORKER_GONE)

    @property
    def cancelled(self) -> bool:
        """Return True once the worker has asked for the end."""
        return self._cancel.is_set()

    def check(self) -> None:
        """Raise `Cancelled` once the worker has asked for the end."""
        if self.cancelled:
            raise Cancelled

    def report(self, stage: str, done: float, total: float) -> None:
        """Report how far a stage is. Raises: Cancelled."""
        self.check()
        self.progress(stage, done, total)

    def ended(self, checkpoint: str | None, step: int) -> None:
        """Send the last event of a run that was cancelled."""
        self._send({"event": "cancelled", "checkpoint": checkpoint, "step": step})
