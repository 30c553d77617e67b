"""The lane of operations that generate nothing: each computes one slice of prompts at a time.

All methods run on the engine's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..operations.operation import OnePass, Operation
from ..requests.failures import failure_of
from ..requests.ledger import Ledger
from .pulse import Pulse


class OnePassLane:
    """Operations that take turns; each keeps its turn until a slice completes results."""

    def __init__(self, ledger: Ledger, pulse: Pulse) -> None:
        self._ledger = ledger
        self._pulse = pulse
        self._waiting: deque[OnePass] = deque()

    @property
    def busy(self) -> bool:
        """Return True if an operation has slices left."""
        return bool(self._waiting)

    @property
    def operations(self) -> set[Operation]:
        """Return the operations with slices left."""
        return set(self._waiting)

    def start(self, operation: OnePass) -> None:
        """Take an operation from the queue."""
        self._waiting.append(operation)

    def drop(self, operations: Collection[Operation]) -> None:
        """Forget operations."""
        self._waiting = deque(each for each in self._waiting if each not in operations)

    def step(self) -> None:
        """Compute one slice of the first operation; after results the next one is first."""
        operation = self._waiting.popleft()
        self._pulse.phase = operation.phase
        try:
            completed = operation.step()
        except Exception as error:  # such as a row of logits that exceeds the limit of a line
            self._ledger.fail(operation.job, failure_of(error))
            return
        if not completed:
            self._waiting.appendleft(operation)
        elif not operation.over:
            self._waiting.append(operation)
