"""Which request runs when: one loop over an Engine, plain Python that knows no MLX.

Requests start in order of arrival; a batch's prompts take turns with the requests after it.
`load` and `unload` are barriers: they wait for what runs, and what comes after them waits for
them. Cancels and deadlines are seen before every step.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from mlxwire_protocol.messages import Batch, Cache, Classify, Command, Load, Memory, Unload
from mlxwire_protocol.replies import LoadResult, OkResult, Progress

from ..engine import Cancelled, Engine
from ..requests.failures import failure_of, internal_error, no_model
from ..requests.job import Job
from ..requests.session import Session
from .classifying import Classifying
from .preparing import Preparing
from .streams import Streams, failed_item, finish_part

BARRIERS = (Load, Unload)


class Scheduler:
    """Owns the engine's thread."""

    def __init__(self, engine: Engine, session: Session, has_room: Callable[[], bool]) -> None:
        self._engine = engine
        self._session = session
        self._has_room = has_room
        self._condition = threading.Condition()
        self._preparing = Preparing(engine, session, self._take)
        self._ready: deque[Job] = deque()
        self._batches: deque[Job] = deque()
        self._woken = False
        self._preload = False
        self._streams = Streams(engine, session)
        self._classifying = Classifying(engine, session)
        self._services: deque[Job] = deque()
        self._timed: set[Job] = set()
        self._first_deadline = math.inf
        self.phase = "idle"
        self.steps = 0
        self.last_step = time.perf_counter()

    def start(self) -> None:
        """Start the threads."""
        self._preparing.start()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job, in order of arrival. Any thread."""
        if job.deadline is not None:
            with self._condition:
                self._timed.add(job)
                self._first_deadline = min(self._first_deadline, job.deadline)
                self._condition.notify_all()
        self._preparing.submit(job)

    def wake(self) -> None:
        """Look at cancellations and at the writer's room now. Any thread."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def preload(self) -> None:
        """Let the engine import what is heavy. Any thread."""
        with self._condition:
            self._preload = self._woken = True
            self._condition.notify_all()

    def _take(self, job: Job) -> None:
        """A job is prepared. On the prepare thread."""
        with self._condition:
            service = _is_service(job.command)
            (self._services if service else self._ready).append(job)
            self._woken |= job.cancelled  # a cancel that came while it was in neither queue
            self._condition.notify_all()

    # -- the engine's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except Exception as error:
                # A fault of ours. Whoever runs ends with it; the worker lives on for the rest.
                failure = internal_error(error)
                for job in (*self._streams.jobs, *self._classifying.jobs, *self._batches):
                    job.cancelled = True
                    self._session.fail(job, failure)
                self._woken = True

    def _turn(self) -> None:
        """Wait for work, then do a little of it."""
        with self._condition:
            if not self._has_work():
                self.phase = "idle"
            while not self._has_work():
                self._condition.wait(self._until_deadline())
            woken, self._woken = self._woken, False
            preload, self._preload = self._preload, False
        if preload:
            self._engine.preload()
        if woken or time.perf_counter() >= self._first_deadline:
            self._drop_cancelled()
        while self._services:
            self._serve(self._services.popleft())
        self._admit()
        if self._has_room() and (self._streams or self._classifying):
            self._step()

    def _step(self) -> None:
        if self._classifying:
            self.phase = "classify"
            self._classifying.step()
        if self._streams:
            self.phase = "decode" if self._engine.decoding else "prefill"
            self._streams.step()
        self.steps += 1
        self.last_step = time.perf_counter()

    def _has_work(self) -> bool:
        if self._woken or self._services or time.perf_counter() >= self._first_deadline:
            return True
        if (self._streams or self._classifying) and self._has_room():
            return True
        return bool(self._ready and self._may_start(self._ready[0])) or bool(
            self._batches and self._may_stream()
        )

    def _may_start(self, job: Job) -> bool:
        if job.ended or isinstance(job.command, Batch | Classify):
            return True
        if isinstance(job.command, BARRIERS):
            return not (self._streams or self._classifying or self._batches)
        return self._may_stream() and self._engine.has_room(job.prepared)

    def _may_stream(self) -> bool:
        return len(self._streams) < self._engine.slots

    def _admit(self) -> None:
        """Start what may start: the queue's head and the batches' prompts, in turns."""
        while True:
            started = self._admit_from_queue()
            started |= self._admit_from_batches()
            if not started:
                return

    def _admit_from_queue(self) -> bool:
        with self._condition:
            if not self._ready or not self._may_start(self._ready[0]):
                return False
            job = self._ready.popleft()
        command = job.command
        if isinstance(command, BARRIERS):
            try:
                if not job.ended:
                    self._change_model(job)
            finally:
                self._preparing.release()
            return True
        if job.ended:
            return True
        job.started = time.perf_counter()
        job.stage = "prefill"
        if isinstance(command, Classify):
            self._classifying.start(job)
        elif isinstance(command, Batch):
            self._batches.append(job)
        else:
            self._streams.start(job, job.prepared)
        return True

    def _admit_from_batches(self) -> bool:
        """The next prompt of the batch whose turn it is."""
        if not self._batches or not self._may_stream():
            return False
        job = self._batches[0]
        index, prompt = job.prepared.next_prompt
        if not isinstance(prompt, Exception):
            if not self._engine.has_room(prompt):
                return False
            self._streams.start(job, prompt, index)
        else:
            self._session.send(job, failed_item(job, index, prompt))
            finish_part(self._session, job)
        job.prepared.advance()
        self._batches.rotate(-1)
        if not job.prepared.left:
            self._batches.remove(job)
        return True

    # -- the end of jobs by others' will -------------------------------------------------

    def _drop_cancelled(self) -> None:
        now = time.perf_counter()
        waiting = self._preparing.waiting()
        with self._condition:
            waiting += self._ready
        started = {*self._streams.jobs, *self._classifying.jobs, *self._batches}
        gone = {job for job in started if job.cancelled or job.expired(now)}
        self._streams.drop(gone)
        self._classifying.drop(gone)
        self._batches = deque(job for job in self._batches if job not in gone)
        for job in [*waiting, *gone, *self._timed]:
            if job.cancelled:
                self._session.end_cancelled(job)
            elif job.expired(now):
                self._session.end_expired(job)
        with self._condition:
            self._timed = {job for job in self._timed if not job.over}
            self._first_deadline = min(
                (job.deadline for job in self._timed if job.deadline is not None),
                default=math.inf,
            )

    def _until_deadline(self) -> float | None:
        """Seconds that the loop may wait; None for as long as it takes."""
        if self._first_deadline == math.inf:
            return None
        return max(self._first_deadline - time.perf_counter(), 0.0)

    # -- the model, and the engine's services --------------------------------------------

    def _serve(self, job: Job) -> None:
        if job.ended:
            return
        try:
            self._session.end(job, self._engine.serve(job.command))
        except Exception as error:
            self._session.fail(job, failure_of(error))

    def _change_model(self, job: Job) -> None:
        job.stage = "prefill"
        job.started = time.perf_counter()
        self.phase = "load"
        try:
            if isinstance(job.command, Load):
                self._load(job, job.command)
            else:
                if self._session.model is None:
                    raise no_model()
                self._session.model = None
                self._engine.unload()
                self._session.end(job, OkResult(id=job.id))
        except Cancelled:
            self._session.end_cancelled(job)
        except Exception as error:
            self._session.fail(job, failure_of(error))

    def _load(self, job: Job, command: Load) -> None:
        def report(stage: str, done: float, total: float) -> None:
            self.last_step = time.perf_counter()
            if job.cancelled:
                raise Cancelled
            self._session.send(job, Progress(id=job.id, stage=stage, done=done, total=total))

        try:
            info = self._engine.load(command, report)
        finally:
            self._session.model = self._engine.model
        seconds = time.perf_counter() - job.accepted
        fields = msgspec.structs.asdict(info)
        self._session.end(job, LoadResult(id=job.id, load_seconds=seconds, **fields))


def _is_service(command: Command) -> bool:
    """Whether a command takes the engine a moment only, between two steps."""
    return isinstance(command, Memory) or (
        isinstance(command, Cache) and command.action != "warm"
    )
