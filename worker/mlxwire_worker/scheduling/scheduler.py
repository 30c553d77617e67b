"""Decides which request runs when, in one loop over an `Engine`. Imports no MLX.

Theory of operation. Three threads meet here. The reader's submits operations to the `Inbox` and
rings its alarm for cancels; the prepare thread makes them ready, in order, and hands them on;
the engine's thread, `_run`, owns the engine and does everything else. Between two steps it looks
in this order at: the wish to preload, cancels and deadlines, operations between steps, the
first operation in the queue, and the batches that have prompts left.

A fourth thread, `background`, begins with the first training. It watches one process at a time. It
ends the job of a training that was cancelled or that failed, and hands a training with a result
back, to be answered between two steps. A fifth, `files`, begins with the first `discover` or `fit`, and
ends its jobs itself.

Requests start in order of arrival; a batch's prompts take turns with the requests after it.
`load` and `unload` run alone: they wait for what runs, the prepare thread stops behind them, and
so nothing after them is ready before they have ended. No step is taken while the writer is full,
so a host that does not read stops the engine and nothing else.

An exception of an operation ends its own job. An unforeseen exception ends all running jobs, or, if
none runs, the first job that waits. So the loop goes on and does not meet the exception for ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice

from ..engine import Cancelled, Engine
from ..operations.generation.sequence import Generating
from ..operations.operation import Alone, Background, BetweenSteps, OnePass, Operation, Reading
from ..requests.failures import failure_of
from ..requests.ledger import Ledger
from .background import BackgroundLane
from .heartbeat import Pulse
from .inbox import Inbox
from .lanes import OnePassLane, SequencesLane


class Scheduler:
    """Owns the prepare thread and the engine's thread."""

    def __init__(
        self, engine: Engine, ledger: Ledger, inbox: Inbox, has_room: Callable[[], bool]
    ) -> None:
        self.pulse = Pulse()
        self._engine = engine
        self._ledger = ledger
        self._inbox = inbox
        self._has_room = has_room
        self._between_steps: deque[BetweenSteps] = deque()
        self._queue: deque[Alone | OnePass | Generating] = deque()
        self._feeds_next = False
        self._sequences = SequencesLane(engine, ledger, self.pulse)
        self._one_pass = OnePassLane(ledger, self.pulse)
        self.background = BackgroundLane(
            "background", ledger, inbox, self._answer_between_steps
        )
        self._files = BackgroundLane("files", ledger, inbox, self._answer_between_steps)

    def start(self) -> None:
        """Start the threads."""
        threading.Thread(target=self._prepare_all, name="prepare", daemon=True).start()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    # -- the prepare thread --------------------------------------------------------------

    def _prepare_all(self) -> None:
        """Make operations ready in order of arrival, so that a long prompt delays no step."""
        while True:
            operation = self._inbox.next_arrival()
            if operation.lane != "alone":
                operation.make_ready()
            if operation.lane == "alone" or not operation.job.closed:
                try:
                    self._hand_on(operation)
                except Exception as error:  # no thread can be started for a lane
                    self._ledger.fail(operation.job, failure_of(error))
            self._inbox.prepared()

    def _hand_on(self, operation: Operation) -> None:
        """Put an operation that is ready where the engine's thread looks for it."""
        if isinstance(operation, Background):
            self.background.add(operation)
        elif isinstance(operation, Reading):
            self._files.add(operation)
        elif isinstance(operation, BetweenSteps):
            self._answer_between_steps(operation)
        elif isinstance(operation, Alone | OnePass | Generating):
            with self._inbox.alarm:
                self._queue.append(operation)
                self._inbox.alarm.notify_all()

    def _answer_between_steps(self, operation: BetweenSteps) -> None:
        """Let the engine's thread answer an operation. On the prepare or the background thread."""
        with self._inbox.alarm:
            self._between_steps.append(operation)
            self._inbox.alarm.notify_all()

    # -- the engine's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except Exception as error:
                failure = failure_of(error)
                for operation in self._started() or self._first_queued():
                    self._ledger.fail(operation.job, failure)
                self._inbox.wake()

    def _turn(self) -> None:
        """Wait for work, then do one step of it."""
        alarm = self._inbox.alarm
        with alarm:
            while not self._has_work():
                self.pulse.phase = "idle"
                alarm.wait(self._inbox.seconds_left())
            look, preload = self._inbox.take_signs()
        if preload:
            self._engine.preload()
        if look:
            self._drop_ended()
        while self._between_steps:
            self._answer(self._between_steps.popleft())
        self._admit()
        if self._has_room():
            self._step()

    def _step(self) -> None:
        stepped = False
        if self._one_pass.busy:
            self._one_pass.step()
            stepped = True
        if self._sequences.has_step:
            self._sequences.step()
            stepped = True
        if stepped:
            self.pulse.step()

    def _has_work(self) -> bool:
        if self._inbox.rings or self._between_steps:
            return True
        if (self._sequences.has_step or self._one_pass.busy) and self._has_room():
            return True
        return bool(self._queue and self._may_start(self._queue[0])) or self._sequences.may_feed

    def _may_start(self, operation: Alone | OnePass | Generating) -> bool:
        if operation.job.closed or isinstance(operation, OnePass):
            return True
        if isinstance(operation, Alone):
            return not (self._sequences.busy or self._one_pass.busy or self._between_steps)
        return self._sequences.may_start(operation)

    def _admit(self) -> None:
        """Start the first operation in the queue and the prompts of batches, in turns.

        The turn outlasts the call: mostly one slot is free, and a queue that always came first
        would starve the batches.
        """
        while True:
            first, second = self._admit_from_queue, self._sequences.feed
            if self._feeds_next:
                first, second = second, first
            if first():
                self._feeds_next = not self._feeds_next
            elif not second():
                return

    def _admit_from_queue(self) -> bool:
        with self._inbox.alarm:
            if not self._queue or not self._may_start(self._queue[0]):
                return False
            operation = self._queue.popleft()
        started = self._ledger.start(operation.job)
        if isinstance(operation, Alone):
            try:
                if started:
                    self._run_alone(operation)
            finally:
                self._inbox.model_has_changed()
        elif not started:
            return True
        elif isinstance(operation, OnePass):
            self._one_pass.start(operation)
        else:
            self._sequences.start(operation)
        return True

    def _answer(self, operation: BetweenSteps) -> None:
        job = operation.job
        if job.closed:
            return
        try:
            self._ledger.end(job, operation.answer())
        except Exception as error:
            self._ledger.fail(job, failure_of(error))

    def _run_alone(self, operation: Alone) -> None:
        self.pulse.phase = operation.phase
        try:
            self._ledger.end(operation.job, operation.run(self.pulse.beat))
        except Cancelled:
            self._ledger.end_cancelled(operation.job)
        except Exception as error:
            self._ledger.fail(operation.job, failure_of(error))

    # -- cancels and deadlines ------------------------------------------------------------

    def _started(self) -> set[Operation]:
        return self._sequences.operations | self._one_pass.operations

    def _first_queued(self) -> set[Operation]:
        with self._inbox.alarm:
            return {*islice(self._queue, 1)}

    def _drop_ended(self) -> None:
        """Take cancelled, expired and failed jobs off the engine, and end them."""
        now = time.perf_counter()
        gone = {
            operation
            for operation in self._started()
            if (job := operation.job).closed or job.cancel_requested or job.expired(now)
        }
        try:
            self._sequences.drop(gone)
            self._one_pass.drop(gone)
        finally:  # no lane holds them any more, so nobody else would end them
            self._end_asked(gone, now)

    def _end_asked(self, gone: Collection[Operation], now: float) -> None:
        """End the jobs whose end was asked for: those off the engine, and those that wait."""
        with self._inbox.alarm:  # until it is let go, no operation moves from one to the other
            own = [*self.background.waiting(), *self._files.waiting()]
            waiting = [*self._inbox.waiting(), *self._queue, *own]
        jobs = [operation.job for operation in (*waiting, *gone)]
        for job in [*jobs, *self._inbox.timed()]:
            if job.cancel_requested:
                self._ledger.end_cancelled(job)
            elif job.expired(now):
                self._ledger.end_expired(job)
        self._inbox.drop_ended()
        self.background.drop_ended()
        self._files.drop_ended()
        with self._inbox.alarm:
            # One that runs alone stays: the prepare thread waits behind it.
            self._queue = deque(
                each for each in self._queue if isinstance(each, Alone) or not each.job.closed
            )
