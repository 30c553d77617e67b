"""Hands operations from the reader's to the prepare thread, and wakes the engine's thread.

There are two locks, so that each thread is woken for its own work only: waking a thread hands
it the interpreter's lock, which costs 0.1 ms of a step.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..operations.operation import Operation
    from ..requests.job import Job


class Inbox:
    """Operations that were accepted, and the alarm that wakes the engine's thread."""

    def __init__(self) -> None:
        self._arrivals = threading.Condition()
        self._arrived: deque[Operation] = deque()
        self._preparing: Operation | None = None
        self._model_changes = False
        self.alarm = threading.Condition()
        """Guards `wake`'s sign, the deadlines, and what the prepare thread hands on."""
        self._woken = False
        self._preload = False
        self._timed: set[Job] = set()
        self._first_deadline = math.inf

    # -- the reader's thread -------------------------------------------------------------

    def submit(self, operation: Operation) -> None:
        """Queue an operation, in order of arrival."""
        job = operation.job
        if job.deadline is not None:
            with self.alarm:
                self._timed.add(job)
                self._first_deadline = min(self._first_deadline, job.deadline)
                self.alarm.notify_all()
        with self._arrivals:
            self._arrived.append(operation)
            self._arrivals.notify_all()

    def wake(self) -> None:
        """Wake the engine's thread to check cancels and the writer's backlog. Any thread."""
        with self.alarm:
            self._woken = True
            self.alarm.notify_all()

    def preload(self) -> None:
        """Tell the engine's thread to call `Engine.preload`."""
        with self.alarm:
            self._preload = self._woken = True
            self.alarm.notify_all()

    def forget(self, job: Job) -> None:
        """Forget the deadline of a job that has ended. Any thread."""
        if job.deadline is not None:
            with self.alarm:
                self._timed.discard(job)

    # -- the prepare thread --------------------------------------------------------------

    def next_arrival(self) -> Operation:
        """Wait for the next operation. While a `load` or `unload` runs, this waits too."""
        with self._arrivals:
            self._arrivals.wait_for(lambda: self._arrived and not self._model_changes)
            operation = self._preparing = self._arrived.popleft()
            self._model_changes = operation.lane == "alone"
            return operation

    def prepared(self) -> None:
        """Record that the operation of `next_arrival` has been handed on."""
        self._preparing = None

    # -- the engine's thread -------------------------------------------------------------

    def waiting(self) -> list[Operation]:
        """Return the operations that are not prepared yet, including the one being prepared."""
        with self._arrivals:
            current = [self._preparing] if self._preparing is not None else []
            return [*current, *self._arrived]

    def model_has_changed(self) -> None:
        """Let `next_arrival` return the operations after a `load` or `unload`."""
        with self._arrivals:
            self._model_changes = False
            self._arrivals.notify_all()

    @property
    def rings(self) -> bool:
        """Return True if the engine's thread was woken or a deadline passed. Hold `alarm`."""
        return self._woken or time.perf_counter() >= self._first_deadline

    def take_signs(self) -> tuple[bool, bool]:
        """Return two flags and clear them: check cancels and deadlines; preload. Hold `alarm`."""
        signs = self.rings, self._preload
        self._woken = self._preload = False
        return signs

    def seconds_left(self) -> float | None:
        """Return the seconds until the first deadline; None without one. Hold `alarm`."""
        if self._first_deadline == math.inf:
            return None
        return max(self._first_deadline - time.perf_counter(), 0.0)

    def timed(self) -> list[Job]:
        """Return the jobs with a deadline that have not ended."""
        with self.alarm:
            return list(self._timed)

    def drop_ended(self) -> None:
        """Drop operations whose jobs have ended, and find the next deadline."""
        with self._arrivals:
            self._arrived = deque(each for each in self._arrived if not each.job.closed)
        with self.alarm:
            self._first_deadline = min(
                (job.deadline for job in self._timed if job.deadline is not None),
                default=math.inf,
            )
