"""The jobs that owe their host a final reply, and the one way in which each of them ends.

Theory of operation. The reader's, the prepare and the engine's thread all end jobs: by a result,
a failure, a cancel, a deadline. They do so through this class alone, under one lock, and
`Job.closed` decides under that lock who comes first; whoever comes later is told False and sends
nothing. So an id gets exactly one final, and nothing after it.

A final may have to wait behind messages that need credit. The job is then `held`: it has left
the engine, keeps its id, and ends when the credit comes, or earlier by a cancel or its deadline,
which drop the held messages; a final that says less then takes the place of the one that waited.

The lock is reentrant and also guards `Conversation`: sending a final may make the connection
accept the next request (dialect 0 serves one at a time), within the same call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from msgspec import Struct

from mlxwire_protocol import WireError, WorkerConnection, error_reply
from mlxwire_protocol.events import Event
from mlxwire_protocol.replies import CancelledDone, Done, Error, Progress, RequestMetrics

from ..process.writer import Writer
from .failures import no_credit
from .job import Job
from .totals import Totals


class Ledger:
    """All jobs in flight. Every method may be called from any thread.

    ``memory`` tells the bytes in use and at the peak. ``wake`` is called when a job's end has
    been asked for and the engine's thread must see to it, ``ended`` with each job whose final is
    sent. ``follow`` takes what the connection makes of an ended request.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        writer: Writer,
        *,
        memory: Callable[[], tuple[int, int]],
        wake: Callable[[], None],
        ended: Callable[[Job], None],
        follow: Callable[[Iterable[Event]], None],
    ) -> None:
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.totals = Totals()
        self.memory = memory
        self._connection = connection
        self._writer = writer
        self._wake = wake
        self._ended = ended
        self._follow = follow

    # -- messages ------------------------------------------------------------------------

    def cork(self) -> None:
        """Hold lines back until `uncork`."""
        self._writer.cork()

    def uncork(self) -> None:
        """Send together the lines held back since `cork`."""
        self._writer.uncork()

    def send(self, job: Job, reply: Struct, tokens: int = 0) -> None:
        """Send a reply that is not final and tells ``tokens`` generated tokens.

        Does nothing if the job is closed. Raises: WireError ``message_too_large``.
        """
        with self.lock:
            if job.closed:
                return
            line = self._connection.encode_reply(reply)
            if isinstance(reply, Progress):
                job.delivery.advice(line)
            else:
                job.delivery.message(line, tokens)
                self._end_if_overfull(job)

    def send_token(self, job: Job, text: str, token_id: int) -> None:
        """Send the next token of a job that asked for no more than that: the hot path."""
        with self.lock:
            if job.state not in ("prefill", "decode"):
                return
            line = self._connection.encode_token(job.id, job.seq, text, token_id)
            job.seq += 1
            job.generated += 1
            job.delivery.message(line, 1)
            self._end_if_overfull(job)

    # -- a job's life --------------------------------------------------------------------

    def open(self, job: Job) -> None:
        """Take a job that was accepted."""
        self.jobs[job.id] = job
        self.totals.accepted()

    def queue(self, job: Job) -> None:
        """Note that the job waits for its turn."""
        with self.lock:
            job.queue()

    def start(self, job: Job) -> bool:
        """Note that the job's work begins; return False if it has ended already."""
        with self.lock:
            if job.closed:
                return False
            job.start()
            return True

    def begin_decode(self, job: Job) -> None:
        """Note that the job's first token is there."""
        with self.lock:
            if job.state == "prefill":
                job.begin_decode()

    def end(self, job: Job, final: Struct) -> bool:
        """End a job with its final reply; return False if it has ended already."""
        with self.lock:
            if job.closed:
                return False
            if not job.delivery.held:
                self._close(job, final)
            elif job.cancel_requested:
                self.end_cancelled(job)
            else:
                job.hold()
                job.delivery.final = final
            return True

    def finish(self, job: Job) -> bool:
        """End a stream that has come to its own end."""
        metrics = self.metrics_of(job)
        return self.end(
            job,
            Done(
                id=job.id,
                finish_reason="stop",
                tokens_generated=job.generated,
                metrics=metrics,
            ),
        )

    def fail(self, job: Job, error: WireError) -> bool:
        """End a job with a typed error."""
        return self.end(job, error_reply(job.id, error))

    def grant(self, job: Job, n: int) -> int:
        """Let ``n`` more messages of a job out; return how many may still come."""
        with self.lock:
            credit = job.delivery.grant(n)
            self._end_if_delivered(job)
            return credit

    def open_windows(self) -> None:
        """Let no job wait for credit any more: the host has said its last word."""
        with self.lock:
            for job in list(self.jobs.values()):
                job.delivery.open()
                self._end_if_delivered(job)

    def request_cancel(self, jobs: Iterable[Job]) -> None:
        """Ask jobs to end; one that is held ends now, the others when the engine lets go."""
        with self.lock:
            for job in list(jobs):
                job.request_cancel()
                if job.state == "held":
                    self.end_cancelled(job)
        self._wake()

    def end_cancelled(self, job: Job) -> bool:
        """End a job as its cancel asked, and tell how far it had come.

        Messages that wait for credit are dropped, and their tokens do not count as generated; a
        final that waited behind them gives way to this one.
        """
        with self.lock:
            if job.state == "sent":
                return False
            job.generated -= job.delivery.drop()
            if job.delivery.overfull:
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

    def end_expired(self, job: Job) -> bool:
        """End a job because its deadline has passed."""
        with self.lock:
            if job.state == "sent":
                return False
            job.generated -= job.delivery.drop()
            error = WireError(
                "deadline_exceeded",
                f"the deadline passed while the request was in stage {job.stage}; allow more "
                "`deadline_seconds`, or ask for less",
                data={"stage": job.stage, "tokens_generated": job.generated},
            )
            self._close(job, error_reply(job.id, error))
            return True

    def metrics_of(self, job: Job) -> RequestMetrics:
        """Return what a job took, up to now."""
        active, peak = self.memory()
        return job.metrics(active_memory=active, peak_memory=peak)

    def _close(self, job: Job, final: Struct) -> None:
        """Send the final; the id is free from here on."""
        self._writer.put(self._connection.encode_reply(final))
        job.send()
        del self.jobs[job.id]
        self._ended(job)
        if isinstance(final, Error):
            self.totals.failed()
        elif isinstance(final, Done):
            self.totals.ended(final)
        self._follow(self._connection.finished(job.id))

    def _end_if_delivered(self, job: Job) -> None:
        final = job.delivery.final
        if final is not None and not job.delivery.held:
            self._close(job, final)

    def _end_if_overfull(self, job: Job) -> None:
        if job.delivery.overfull:
            job.request_cancel()
            self._wake()
