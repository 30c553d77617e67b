"""Receives the host's requests, and answers them or hands them to the scheduler.

Threads: the reader's thread calls all methods, and each takes the ledger's lock. `follow` is
also called by the thread that sends a final reply, which holds that lock already. Commands of
the lane `at_once` are answered within the call, even while the engine computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlxwire_protocol import WireError, WorkerConnection, invalid_params
from mlxwire_protocol.codec import encode
from mlxwire_protocol.commands import row_of
from mlxwire_protocol.events import Accepted, Answer, Event
from mlxwire_protocol.messages import Cancel, Command, Credit, Quit
from mlxwire_protocol.replies import Event as EventReply
from mlxwire_protocol.results import CancelOutcome, CancelResult, CreditResult, OkResult

from ..engine import Engine
from ..operations import OPERATIONS
from ..operations.operation import Operation
from ..process.writer import Writer
from ..scheduling.inbox import Inbox
from .delivery import Delivery
from .job import Job
from .ledger import Ledger


class Conversation:
    """The requests of one host. ``subscribed`` are the events that `hello` named."""

    def __init__(
        self,
        connection: WorkerConnection,
        writer: Writer,
        engine: Engine,
        inbox: Inbox,
        subscribed: frozenset[str] = frozenset(),
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._engine = engine
        self._inbox = inbox
        self.subscribed = subscribed
        self.ledger = Ledger(
            connection,
            writer,
            memory=engine.memory,
            restart_peak=engine.restart_peak,
            wake=inbox.wake,
            ended=inbox.forget,
            follow=self.follow,
        )
        self._quit: Job | None = None
        self._closing = False
        self._controls: dict[type[Command], Callable[[Job, Any], None]] = {
            Cancel: self._cancel,
            Credit: self._grant,
            Quit: self._begin_quit,
        }

    @property
    def quitting(self) -> bool:
        """Return True once the host has sent `quit`."""
        return self._quit is not None

    @property
    def idle(self) -> bool:
        """Return True if every request but `quit` has its final reply."""
        with self.ledger.lock:
            return len(self.ledger.jobs) == self.quitting

    def receive(self, chunk: bytes) -> None:
        """Parse bytes from the host, and act on the requests in them."""
        self.follow(self._connection.receive(chunk))

    def receive_end(self) -> None:
        """Handle the end of the host's bytes."""
        self.follow(self._connection.receive_end())

    def follow(self, events: Iterable[Event]) -> None:
        """Act on the events of the connection, in order."""
        with self.ledger.lock:
            for event in events:
                if isinstance(event, Accepted):
                    self._accept(event.command)
                    continue
                if isinstance(event, Answer):
                    self.ledger.totals.failed()
                self._writer.put(event.line)

    def send_event(self, name: str, data: dict[str, Any]) -> None:
        """Send an event with ``data`` and the numbers of requests in flight and queued."""
        with self.ledger.lock:
            if not self._writer.has_room():
                return  # a host that does not read has no use for news
            jobs = self.ledger.jobs.values()
            queued = sum(job.stage == "queued" for job in jobs)
            told = {**data, "in_flight": len(jobs), "queued": queued}
            self._writer.put(encode(EventReply(event=name, data=told)))

    # -- requests ------------------------------------------------------------------------

    def _accept(self, command: Command) -> None:
        window: int | None = getattr(command, "window", None)
        job = Job(command, Delivery(self._writer.put, window))
        self.ledger.open(job)
        if self._quit is not None or self._closing:
            error = WireError("shutting_down", "this worker is ending; start a new one")
            self.ledger.fail(job, error)
            return
        control = self._controls.get(type(command))
        if control is not None:
            control(job, command)
            return
        row = row_of(command)
        operation = OPERATIONS[row.name, row.action](job, self._engine, self.ledger)
        if row.lane == "at_once" and self._answer(operation):
            return
        self.ledger.queue(job)
        self._inbox.submit(operation)

    def _answer(self, operation: Operation) -> bool:
        """Answer an operation now; return False if it must wait for a `load` or `unload`."""
        if operation.needs_model and self._model_changes():
            return False
        operation.make_ready()
        return True

    def _model_changes(self) -> bool:
        jobs = self.ledger.jobs.values()
        return any(row_of(job.command).lane == "alone" for job in jobs)

    def _cancel(self, job: Job, command: Cancel) -> None:
        jobs, target = self.ledger.jobs, command.target
        outcome: CancelOutcome
        if target is None:
            targets = [other for other in jobs.values() if other is not job]
            outcome = "accepted" if targets else "finished"
        else:
            known = self._connection.is_known(target)
            targets = [jobs[target]] if known == "in_flight" and target != job.id else []
            outcome = (
                "accepted" if targets else ("unknown" if known == "unknown" else "finished")
            )
        self.ledger.end(job, CancelResult(id=job.id, outcome=outcome, cancelled=len(targets)))
        if targets:
            self.ledger.request_cancel(targets)

    def _grant(self, job: Job, command: Credit) -> None:
        target = self.ledger.jobs.get(command.target)
        if target is None:
            self.ledger.end(job, CreditResult(id=job.id, credit=0))
        elif target.delivery.credit is None:
            message = f"request {command.target!r} named no `window`, so it needs no credit"
            self.ledger.fail(job, invalid_params("target", message))
        else:
            credit = self.ledger.grant(target, command.n)
            self.ledger.end(job, CreditResult(id=job.id, credit=credit))

    def _begin_quit(self, job: Job, _: Quit) -> None:
        self._quit = job

    # -- the end -------------------------------------------------------------------------

    def cancel_all(self) -> None:
        """Ask every job to end; new ones are refused from now on."""
        with self.ledger.lock:
            self._closing = True
            self.ledger.request_cancel(self.ledger.jobs.values())

    def finish(self) -> None:
        """Give every job that still owes its final one, `quit` last."""
        with self.ledger.lock:
            for job in list(self.ledger.jobs.values()):
                if job is not self._quit:
                    self.ledger.end_cancelled(job)
            if self._quit is not None:
                self.ledger.end(self._quit, OkResult(id=self._quit.id))
