"""Keeps all jobs in flight, and ends each of them with exactly one final reply.

Theory of operation. The reader's, the prepare and the engine's thread all end jobs: by a result,
a failure, a cancel, a deadline. They do so through this class alone, under one lock. The first
thread to take the lock ends the job; for a later one `Job.closed` is True, so its call returns
False and sends nothing. So an id gets exactly one final reply, and no message after it.

A final may have to wait behind messages that need credit. The job is then `held`: it has left
the engine and keeps its id. It ends when the credit comes, or earlier by a cancel or its
deadline. These drop the held messages and replace the final reply that waited.

The lock is reentrant and also guards `Conversation`: sending a final may make the connection
accept the next request (dialect 0 serves one at a time), within the same call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct, structs

from mlxwire_protocol import WireError, WorkerConnection, error_reply
from mlxwire_protocol.events import Event
from mlxwire_protocol.replies import (
    CancelledDone,
    CancelledTraining,
    Done,
    Error,
    FinishReason,
    FormattedDone,
    Progress,
    RequestMetrics,
    ToolCall,
    ToolDone,
    ToolError,
)

from ..engine import MemoryUse
from ..process.writer import Writer
from ..prompts import Calls, Form
from .failures import no_credit
from .job import Job, Saved
from .peak_memory import PeakMemory
from .totals import Totals


class Ledger:
    """All jobs in flight. Every method may be called from any thread.

    ``memory`` and ``restart_peak`` are the engine's. ``wake`` is called when a job's end has
    been asked for and the engine's thread must see to it, ``ended`` with each job whose final is
    sent. ``follow`` takes what the connection makes of an ended request.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        writer: Writer,
        *,
        memory: Callable[[], MemoryUse],
        restart_peak: Callable[[], int],
        wake: Callable[[], None],
        ended: Callable[[Job], None],
        follow: Callable[[Iterable[Event]], None],
    ) -> None:
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.totals = Totals()
        self.memory = memory
        self._peaks = PeakMemory(restart_peak)
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
        """Send a reply that is not final and has ``tokens`` generated tokens in it.

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

    def send_token(
        self, job: Job, text: str, token_id: int, channel: str | None = None
    ) -> None:
        """Send the next token of a job without log-probabilities: a fast path."""
        with self.lock:
            if job.state not in ("prefill", "decode"):
                return
            line = self._connection.encode_token(job.id, job.seq, text, token_id, channel)
            job.seq += 1
            job.generated += 1
            job.delivery.message(line, 1)
            self._end_if_overfull(job)

    # -- a job's life --------------------------------------------------------------------

    def open(self, job: Job) -> None:
        """Add a job that was accepted."""
        self.jobs[job.id] = job
        self.totals.accepted()

    def queue(self, job: Job) -> None:
        """Record that the job waits for its turn."""
        with self.lock:
            job.queue()

    def start(self, job: Job) -> bool:
        """Record that the job starts to run; return False if it has already ended."""
        with self.lock:
            if job.closed:
                return False
            job.start()
            self._peaks.start(job)
            return True

    def begin_decode(self, job: Job) -> None:
        """Record that the job's first token has been computed."""
        with self.lock:
            if job.state == "prefill":
                job.begin_decode()

    def end(self, job: Job, final: Struct) -> bool:
        """End a job with its final reply; return False if it has already ended."""
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

    def finish(
        self, job: Job, reason: FinishReason = "stop", outcome: Form | Calls | None = None
    ) -> bool:
        """End a job whose text or items have all been sent; tell what came of its form or tools."""
        told: dict[str, Any] = {
            "id": job.id,
            "finish_reason": reason,
            "tokens_generated": job.generated,
            "metrics": self.metrics_of(job),
        }
        if isinstance(outcome, Form):
            return self.end(job, FormattedDone(**told, **outcome._asdict()))
        if isinstance(outcome, Calls):
            return self.end(job, _tool_done(told, outcome))
        return self.end(job, Done(**told))

    def fail(self, job: Job, error: WireError) -> bool:
        """End a job with a typed error."""
        return self.end(job, error_reply(job.id, error))

    def grant(self, job: Job, n: int) -> int:
        """Add ``n`` to a job's credit; return the credit that is left."""
        with self.lock:
            credit = job.delivery.grant(n)
            self._end_if_delivered(job)
            return credit

    def open_windows(self) -> None:
        """Send all held messages: the host's input has ended, so no credit can come."""
        with self.lock:
            for job in list(self.jobs.values()):
                job.delivery.open()
                self._end_if_delivered(job)

    def request_cancel(self, jobs: Iterable[Job]) -> None:
        """Cancel jobs; a held job ends now, the others when the engine has dropped them."""
        with self.lock:
            for job in list(jobs):
                job.request_cancel()
                if job.state == "held":
                    self.end_cancelled(job)
        self._wake()

    def end_cancelled(self, job: Job, saved: Saved | None = None) -> bool:
        """End a cancelled job; its final reply names the stage that it had reached.

        That of a training names the checkpoint that was ``saved``.

        Messages that wait for credit are dropped, and their tokens do not count as generated.
        A final reply that waited behind them is replaced by this one.
        """
        with self.lock:
            if job.state == "sent":
                return False
            job.generated -= job.delivery.drop()
            if job.delivery.overfull:
                self._close(job, error_reply(job.id, no_credit()))
                return True
            told: dict[str, Any] = {
                "id": job.id,
                "finish_reason": "cancelled",
                "stage": job.stage,
                "tokens_generated": job.generated,
                "metrics": self.metrics_of(job),
            }
            if saved is None:
                self._close(job, CancelledDone(**told))
            else:
                self._close(job, CancelledTraining(**told, **saved._asdict()))
            return True

    def end_expired(self, job: Job, **data: Any) -> bool:
        """End a job with ``deadline_exceeded`` and ``data``, because its deadline has passed."""
        with self.lock:
            if job.state == "sent":
                return False
            job.generated -= job.delivery.drop()
            error = WireError(
                "deadline_exceeded",
                f"`deadline_seconds` passed while the request was in stage {job.stage}; give it "
                "more seconds, or ask for less",
                data={"stage": job.stage, "tokens_generated": job.generated, **data},
            )
            self._close(job, error_reply(job.id, error))
            return True

    def metrics_of(self, job: Job) -> RequestMetrics:
        """Return a job's counts and times up to now."""
        use = self.memory()
        peak = self._peaks.of(job, use.recent_peak_bytes)
        return job.metrics(active_memory=use.active_bytes, peak_memory=peak)

    def _close(self, job: Job, final: Struct) -> None:
        """Send the final reply, after which the id is free."""
        self._writer.put(self._connection.encode_reply(final))
        job.send()
        del self.jobs[job.id]
        self._peaks.end(job)
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


def _tool_done(told: dict[str, Any], calls: Calls) -> ToolDone:
    failed = calls.failed
    return ToolDone(
        **told,
        tool_calls=[ToolCall(**structs.asdict(call)) for call in calls.complete],
        tool_error=None if failed is None else ToolError(**structs.asdict(failed)),
    )
