"""Where requests begin and end: the connection, the jobs it owes finals to, and the totals.

Shared by the reader's and the engine's threads under one lock, so that an id gets its one
final whoever speaks first, and a cancel's outcome is the truth at the moment it is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from mlxwire_protocol.codec import encode
from mlxwire_protocol.connection import WorkerConnection
from mlxwire_protocol.errors import WireError, invalid_params
from mlxwire_protocol.events import Accepted, Answer, Event, error_reply
from mlxwire_protocol.messages import Cancel, Command, Credit, Info, Load, Metrics, Quit, Unload
from mlxwire_protocol.replies import (
    CancelledDone,
    CancelOutcome,
    CancelResult,
    CreditResult,
    Done,
    Error,
    InfoResult,
    MetricsResult,
    ModelInfo,
    OkResult,
    Progress,
    RequestMetrics,
    WorkerMetrics,
)
from mlxwire_protocol.replies import Event as EventReply

from ..process.writer import Writer
from .delivery import Delivery
from .failures import no_credit, no_model
from .job import Job


class Queue(Protocol):
    """Where accepted work goes."""

    def submit(self, job: Job) -> None:
        """Queue a job, in order of arrival."""

    def wake(self) -> None:
        """Look at cancellations now."""


class Session:
    """One host's conversation. All methods may be called from any thread."""

    def __init__(self, connection: WorkerConnection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._started = time.perf_counter()
        self._totals = WorkerMetrics()
        self._closing = False
        self.queue: Queue
        self.model: ModelInfo | None = None
        self.memory: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.quit_request: Quit | None = None
        self.events: frozenset[str] = frozenset()

    # -- the reader's side ---------------------------------------------------------------

    def receive(self, chunk: bytes) -> None:
        """Take bytes from the host."""
        with self._lock:
            self._handle(self._connection.receive(chunk))

    def receive_end(self) -> None:
        """Take the end of the host's bytes."""
        with self._lock:
            self._handle(self._connection.receive_end())

    def handle(self, events: Iterable[Event]) -> None:
        """Take events of bytes that were read before the session began."""
        with self._lock:
            self._handle(events)

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Accepted):
                self._accept(event.command)
            elif isinstance(event, Answer):
                self._totals.errors += 1
                self._writer.put(event.line)
            else:
                self._writer.put(event.line)

    def _accept(self, command: Command) -> None:
        window = getattr(command, "window", None)
        job = Job(command, Delivery(self._writer.put, window))
        self._jobs[job.id] = job
        self._totals.requests += 1
        if self.quit_request is not None or self._closing:
            error = WireError("shutting_down", "this worker is ending; start a new one")
            self.fail(job, error)
        elif isinstance(command, Cancel):
            self._cancel(job, command)
        elif isinstance(command, Credit):
            self._grant(job, command)
        elif isinstance(command, Metrics):
            self.end(job, self._metrics(command.id))
        elif isinstance(command, Info) and not self._model_changes():
            self.end_info(job)
        elif isinstance(command, Quit):
            self.quit_request = command
        else:
            self.queue.submit(job)

    def _model_changes(self) -> bool:
        """Whether a load or unload is pending, which an `info` after it must wait for."""
        return any(isinstance(job.command, Load | Unload) for job in self._jobs.values())

    def _cancel(self, job: Job, command: Cancel) -> None:
        target = command.target
        outcome: CancelOutcome
        if target is None:
            targets = [other for other in self._jobs.values() if other is not job]
            outcome = "accepted" if targets else "finished"
        else:
            known = self._connection.is_known(target)
            targets = [self._jobs[target]] if known == "in_flight" and target != job.id else []
            outcome = (
                "accepted" if targets else ("unknown" if known == "unknown" else "finished")
            )
        for other in targets:
            other.cancelled = True
        self.end(job, CancelResult(id=job.id, outcome=outcome, cancelled=len(targets)))
        for other in targets:
            if other.delivery.finished:
                self.end_cancelled(other)
        if targets:
            self.queue.wake()

    def _grant(self, job: Job, command: Credit) -> None:
        target = self._jobs.get(command.target)
        if target is None:
            self.end(job, CreditResult(id=job.id, credit=0))
        elif target.delivery.credit is None:
            message = f"request {command.target!r} named no `window`, so it needs no credit"
            self.fail(job, invalid_params("target", message))
        else:
            self.end(job, CreditResult(id=job.id, credit=target.delivery.grant(command.n)))

    def _metrics(self, request_id: str) -> MetricsResult:
        totals, now = self._totals, time.perf_counter()
        active, peak = self.memory()
        figures = msgspec.structs.asdict(totals)
        figures.update(
            in_flight=len(self._jobs) - 1,
            queued=sum(job.stage == "queued" for job in self._jobs.values()) - 1,
            batch_size=sum(job.stage != "queued" for job in self._jobs.values()),
            uptime_seconds=now - self._started,
            active_memory_bytes=active,
            peak_memory_bytes=peak,
            prefill_tokens_per_second=_rate(totals.prompt_tokens, totals.prefill_seconds),
            decode_tokens_per_second=_rate(totals.generated_tokens, totals.decode_seconds),
        )
        return MetricsResult(id=request_id, **figures)

    def send_event(self, name: str, data: dict[str, Any]) -> None:
        """Something the host asked in `hello` to be told; with the load that it adds."""
        with self._lock:
            if not self._writer.has_room:
                return  # a host that does not read has no use for news
            queued = sum(job.stage == "queued" for job in self._jobs.values())
            told = {**data, "in_flight": len(self._jobs), "queued": queued}
            self._writer.put(encode(EventReply(event=name, data=told)))

    # -- the engine's side ---------------------------------------------------------------

    def cork(self) -> None:
        """Hold lines back until `uncork`."""
        self._writer.cork()

    def uncork(self) -> None:
        """Send them together."""
        self._writer.uncork()

    def send(self, job: Job, reply: msgspec.Struct, tokens: int = 0) -> None:
        """A reply that is not final, and how many generated tokens it tells; nothing, if the job
        has ended."""
        with self._lock:
            if job.ended:
                return
            line = self._connection.encode_reply(reply)
            if isinstance(reply, Progress):
                job.delivery.advice(line)
            else:
                job.delivery.message(line, tokens)
                self._end_if_overfull(job)

    def send_token(self, job: Job, text: str, token_id: int) -> None:
        """The hot path of `send`: the next token of a job that asked for no more than that."""
        with self._lock:
            if job.ended:
                return
            line = self._connection.encode_token(job.id, job.seq, text, token_id)
            job.seq += 1
            job.generated += 1
            job.delivery.message(line, 1)
            self._end_if_overfull(job)

    def end(self, job: Job, final: msgspec.Struct) -> bool:
        """The job's one final reply. False if somebody else has already ended it."""
        with self._lock:
            if job.ended:
                return False
            job.ended = True
            job.delivery.finish(lambda: self._close(job, final))
            return True

    def _close(self, job: Job, final: msgspec.Struct) -> None:
        """Send the final; the id is free of the job from here on."""
        self._writer.put(self._connection.encode_reply(final))
        del self._jobs[job.id]
        self._totals.errors += isinstance(final, Error)
        if isinstance(final, Done):
            self._count(final)
        self._handle(self._connection.finished(job.id))

    def fail(self, job: Job, error: WireError) -> bool:
        """End the job with a typed error."""
        return self.end(job, error_reply(job.id, error))

    def end_info(self, job: Job) -> bool:
        """Answer an `info` with the model as it is now."""
        model = self.model
        if model is None:
            return self.fail(job, no_model())
        return self.end(job, InfoResult(id=job.id, **msgspec.structs.asdict(model)))

    def end_cancelled(self, job: Job) -> bool:
        """End the job as its cancel asked, telling how far it had come.

        What the host has not granted credit for is dropped, and does not count as generated;
        a final that waited behind it gives way to this one.
        """
        with self._lock:
            if job.ended and not job.delivery.finished:
                return False
            overfull = job.delivery.overfull
            job.generated -= job.delivery.drop()
            job.ended = True
            if overfull:
                self._close(job, error_reply(job.id, no_credit()))
                return True
            final = CancelledDone(
                id=job.id,
                finish_reason="cancelled",
                stage=job.stage,
                tokens_generated=job.generated,
                metrics=self.metrics_of(job),
            )
            self._close(job, final)
            return True

    def _end_if_overfull(self, job: Job) -> None:
        if job.delivery.overfull and not job.cancelled:
            job.cancelled = True
            self.queue.wake()

    def end_expired(self, job: Job) -> bool:
        """End the job since its deadline has passed."""
        with self._lock:
            if job.ended and not job.delivery.finished:
                return False
            job.generated -= job.delivery.drop()
            job.ended = True
            error = WireError(
                "deadline_exceeded",
                f"the deadline passed while the request was in stage {job.stage}; allow more "
                "`deadline_seconds`, or ask for less",
                data={"stage": job.stage, "tokens_generated": job.generated},
            )
            self._close(job, error_reply(job.id, error))
            return True

    def metrics_of(self, job: Job) -> RequestMetrics:
        """What a job took, up to now."""
        active, peak = self.memory()
        return job.metrics(active_memory=active, peak_memory=peak)

    def _count(self, done: Done) -> None:
        totals, one = self._totals, done.metrics
        totals.cancelled += done.finish_reason == "cancelled"
        totals.prompt_tokens += one.prompt_tokens
        totals.cached_tokens += one.cached_tokens
        totals.generated_tokens += one.generated_tokens
        totals.queue_seconds += one.queue_seconds
        totals.prefill_seconds += one.prefill_seconds
        totals.decode_seconds += one.decode_seconds

    # -- the end -------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no final is owed but that of `quit`."""
        with self._lock:
            return len(self._jobs) == (self.quit_request is not None)

    def cancel_all(self) -> None:
        """Ask every job to end; new ones are refused."""
        with self._lock:
            self._closing = True
            for job in list(self._jobs.values()):
                job.cancelled = True
                if job.delivery.finished:  # it left the queue; nobody else would end it
                    self.end_cancelled(job)
        self.queue.wake()

    def open_windows(self) -> None:
        """The host has said its last word, so no credit can come: nothing waits for any."""
        with self._lock:
            for job in list(self._jobs.values()):
                job.delivery.open()

    def finish(self) -> None:
        """Give every job that still owes its final one, `quit` last."""
        with self._lock:
            quit_job = self._jobs.get(self.quit_request.id) if self.quit_request else None
            for job in list(self._jobs.values()):
                if job is not quit_job:
                    self.end_cancelled(job)
            if quit_job is not None:
                self.end(quit_job, OkResult(id=quit_job.id))


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
