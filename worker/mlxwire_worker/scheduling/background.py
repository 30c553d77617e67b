"""The lanes that have a thread of their own: `background`, and `files`.

One operation at a time, in order of arrival: a training holds a model in memory, and a disk reads
folders no faster for two. A lane's thread begins with the first operation and lives as long as the
worker, since the kernel ends a program with the thread that started it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..operations.operation import Background, Operation, Reading
from ..requests.failures import failure_of
from ..requests.ledger import Ledger
from .inbox import Inbox


class BackgroundLane:
    """The operations that wait, and the one that is at work.

    ``name`` is the thread's. ``hand_back`` takes an operation whose work is done, for its answer.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        inbox: Inbox,
        hand_back: Callable[[Background], None],
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._inbox = inbox
        self._hand_back = hand_back
        self._arrivals = threading.Condition()
        self._queue: deque[Background | Reading] = deque()
        self._working: Background | Reading | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Return True while an operation is at work. Any thread."""
        return self._working is not None

    def add(self, operation: Background | Reading) -> None:
        """Queue an operation. On the prepare thread. Raises: RuntimeError if no thread can start."""
        with self._arrivals:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            self._queue.append(operation)
            self._arrivals.notify_all()

    def waiting(self) -> list[Operation]:
        """Return the operations that wait for their turn. Any thread."""
        with self._arrivals:
            return list(self._queue)

    def drop_ended(self) -> None:
        """Drop operations whose jobs have ended while they waited. Any thread."""
        with self._arrivals:
            self._queue = deque(each for each in self._queue if not each.job.closed)

    def stop(self) -> None:
        """End the process of the operation that is at work, because the worker exits. Any thread."""
        operation = self._working
        if operation is not None:
            operation.stop()

    def _run(self) -> None:
        while True:
            with self._arrivals:
                self._arrivals.wait_for(lambda: self._queue)
                operation = self._working = self._queue.popleft()
            try:
                self._do(operation)
            finally:
                self._working = None

    def _do(self, operation: Background | Reading) -> None:
        job = operation.job
        self._inbox.forget(job)  # the operation itself looks at its deadline from now on
        if not self._ledger.start(job):
            return
        try:
            operation.work()
        except Exception as error:
            self._ledger.fail(job, failure_of(error))
        if not job.closed and isinstance(operation, Background):
            self._hand_back(operation)
