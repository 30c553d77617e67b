"""Prepares requests on a thread of their own, so that a long prompt does not stall the engine.

Requests are prepared in order of arrival. After a `load` or `unload` the thread waits until
that has ended, since the next request needs the new model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..operations.operation import Operation
from .inbox import Inbox


class Preparing:
    """Owns the prepare thread; ``hand_on`` takes each operation that is ready."""

    def __init__(self, inbox: Inbox, hand_on: Callable[[Operation], None]) -> None:
        self._inbox = inbox
        self._hand_on = hand_on

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="prepare", daemon=True).start()

    def _run(self) -> None:
        while True:
            operation = self._inbox.next_arrival()
            if operation.lane == "alone" or self._prepare(operation):
                self._hand_on(operation)
            self._inbox.prepared()

    def _prepare(self, operation: Operation) -> bool:
        """Prepare an operation; return False if its job has ended."""
        if not operation.job.closed:
            operation.make_ready()
        return not operation.job.closed
