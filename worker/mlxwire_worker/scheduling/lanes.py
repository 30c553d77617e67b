"""The two lanes that take steps of the engine: sequences, and operations of one pass.

All on the engine's thread. The scheduler starts operations in a lane, steps it, and drops what has
ended. Each sequence ends by itself: at a stop token or string, at its limit, or with its own error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from ..engine import Engine
from ..operations.generation.sequence import Generating, Sequence
from ..operations.operation import OnePass, Operation
from ..process.stdio import log
from ..prompts import Failed, Prefilled, Prompt, Sampled, StepResult
from ..requests.failures import failure_of
from ..requests.ledger import Ledger
from .heartbeat import Pulse


class SequencesLane:
    """The running sequences by prompt, and the operations with sequences left to start."""

    def __init__(self, engine: Engine, ledger: Ledger, pulse: Pulse) -> None:
        self._engine = engine
        self._ledger = ledger
        self._pulse = pulse
        self._running: dict[Prompt, Sequence] = {}
        self._feeding: deque[Generating] = deque()

    @property
    def busy(self) -> bool:
        """Return True if a sequence is running or left to start."""
        return bool(self._running or self._feeding)

    @property
    def has_step(self) -> bool:
        """Return True if a sequence is running."""
        return bool(self._running)

    @property
    def operations(self) -> set[Operation]:
        """Return the operations that have started and not ended."""
        return {*self._feeding, *(each.operation for each in self._running.values())}

    def may_start(self, operation: Generating) -> bool:
        """Return True if an operation may leave the queue."""
        return operation.left > 0 or self._can_start_next(operation)

    def start(self, operation: Generating) -> None:
        """Start an operation that leaves the queue."""
        if operation.left:
            self._feeding.append(operation)
        else:
            self._start_next(operation)

    @property
    def may_feed(self) -> bool:
        """Whether an operation that has started can start its next sequence.

        It looks at the memory too: while the writer is full no step frees any, and a loop that
        found work without being able to do it would spin.
        """
        return bool(self._feeding) and self._can_start_next(self._feeding[0])

    def feed(self) -> bool:
        """Start the next sequence of the first operation; return True if one started."""
        if not self.may_feed:
            return False
        operation = self._feeding[0]
        self._start_next(operation)
        self._feeding.popleft()
        if operation.left:
            self._feeding.append(operation)
        return True

    def drop(self, operations: Collection[Operation]) -> None:
        """Take operations off the engine, and send the text that they held back."""
        self._feeding = deque(each for each in self._feeding if each not in operations)
        gone = [each for each in self._running.values() if each.operation in operations]
        self._remove(gone)
        for sequence in gone:
            sequence.operation.drop_sequence(sequence)

    def step(self) -> None:
        """Do one step of the engine, and send its results in one write."""
        self._pulse.phase = "decode" if self._engine.decoding else "prefill"
        try:
            results = self._engine.step()
        except Exception as error:  # the engine could not name one sequence at fault
            self._fail_all(error)
            return
        self._ledger.cork()
        try:
            self._take(results)
        finally:
            self._ledger.uncork()

    def _can_start_next(self, operation: Generating) -> bool:
        if len(self._running) >= self._engine.slots:
            return False
        prompt = operation.next_prompt
        if not isinstance(prompt, Prompt):
            return True
        try:
            return self._engine.has_room(prompt)
        except Exception:
            return True  # `_start_next` asks again and fails it alone, without the alarm's lock

    def _start_next(self, operation: Generating) -> None:
        sequence = operation.start_next()
        if sequence is None:
            return
        try:
            # If this raises, `_can_start_next` has passed over the same exception.
            self._engine.has_room(sequence.prompt)
            self._engine.add(sequence.prompt)
        except Exception as error:
            operation.fail_sequence(sequence, error)
            return
        self._running[sequence.prompt] = sequence

    def _take(self, results: list[StepResult]) -> None:
        size = len(self._running)
        ended: list[Sequence] = []
        for result in results:
            sequence = self._running.get(result.prompt)
            if sequence is None:
                continue
            if isinstance(result, Sampled):
                if self._take_token(sequence, result, size):
                    ended.append(sequence)
            elif isinstance(result, Prefilled):
                sequence.operation.report_prefill(sequence, result.done)
            else:
                assert isinstance(result, Failed)
                del self._running[sequence.prompt]
                sequence.operation.fail_sequence(sequence, result.error)
        self._remove(ended)

    def _take_token(self, sequence: Sequence, sampled: Sampled, size: int) -> bool:
        """Send one token; return True if the sequence ends. An exception ends it alone."""
        operation = sequence.operation
        operation.job.batch_size = size
        try:
            reason = sequence.take(sampled)
            if reason is not None:
                operation.end_sequence(sequence, reason)
        except Exception as error:
            operation.fail_sequence(sequence, error)
            return True
        return reason is not None

    def _remove(self, sequences: Iterable[Sequence]) -> None:
        prompts = [sequence.prompt for sequence in sequences]
        if not prompts:
            return
        for prompt in prompts:
            self._running.pop(prompt, None)
        self._engine.remove(prompts)

    def _fail_all(self, error: Exception) -> None:
        sequences = list(self._running.values())
        try:
            self._remove(sequences)
        except Exception as second:
            log(f"dropping sequences after a failed step failed too: {type(second).__name__}")
        for sequence in sequences:
            sequence.operation.fail_sequence(sequence, error)


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
