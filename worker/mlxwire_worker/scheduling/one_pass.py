"""The lane of one pass: operations that are done in slices of a forward pass, in turns.

All on the engine's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..operations.operation import OnePass, Operation
from ..requests.failures import failure_of
from ..requests.ledger import Ledger
from .pulse import Pulse


class OnePassLane:
    """Operations in order of arrival; each keeps its turn until a slice completes results."""

    def __init__(self, ledger: Ledger, pulse: Pulse) -> None:
        self._ledger = ledger
        self._pulse = pulse
        self._waiting: deque[OnePass] = deque()

    @property
    def busy(self) -> bool:
        """Whether an operation has slices left."""
        return bool(self._waiting)

    @property
    def operations(self) -> set[Operation]:
        """Operations with slices left."""
        return set(self._waiting)

    def start(self, operation: OnePass) -> None:
        """Take an operation from the queue."""
        self._waiting.append(operation)

    def drop(self, operations: Collection[Operation]) -> None:
        """Forget operations."""
        self._waiting = deque(each for each in self._waiting if each not in operations)

    def step(self) -> None:
        """Do one slice of the first operation; after its results it is the next one's turn."""
        operation = self._waiting.popleft()
        self._pulse.phase = operation.phase
        try:
            completed = operation.step()
        except Exception as error:  # a row of logits longer than a line may be, among others
            self._ledger.fail(operation.job, failure_of(error))
            return
        if not completed:
            self._waiting.appendleft(operation)
        elif not operation.over:
            self._waiting.append(operation)
