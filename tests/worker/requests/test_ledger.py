"""The ledger by itself: each job ends once, and nothing is sent for it after that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from mlxwire_protocol import WireError, WorkerConnection
from mlxwire_protocol.messages import Generate
from mlxwire_protocol.replies import Progress, Token
from mlxwire_protocol.results import Limits, OkResult, WorkerIdentity
from mlxwire_worker.engine import MemoryUse
from mlxwire_worker.process.writer import Writer
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import Job
from mlxwire_worker.requests.ledger import Ledger
from support.conversation import Message
from support.memory_host import MemoryWriter


class Books:
    """A ledger, the lines that it has written, and its calls to others."""

    def __init__(self) -> None:
        self.writer = MemoryWriter()
        connection = WorkerConnection(
            WorkerIdentity(name="w", version="0", pid=1, engine="mock"),
            limits=Limits(max_line_bytes=1 << 20, max_inflight=8),
            capabilities={},
        )
        self.wakes = 0
        self.ended: list[Job] = []
        self.ledger = Ledger(
            connection,
            cast(Writer, self.writer),
            memory=MemoryUse,
            restart_peak=lambda: 0,
            wake=self._wake,
            ended=self.ended.append,
            follow=list,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def job(self, state: str, name: str = "r", window: int | None = None) -> Job:
        """Return a job in a state; one that is held has told one token, and holds one."""
        window = 1 if state == "held" else window
        job = Job(Generate(id=name, prompt="x"), Delivery(self.writer.put, window))
        self.ledger.open(job)
        if state == "accepted":
            return job
        self.ledger.queue(job)
        if state in ("queued", "sent"):
            if state == "sent":
                self.end(job)
            return job
        self.ledger.start(job)
        if state == "held":
            self.ledger.send_token(job, "told", 1)
            self.ledger.send_token(job, "held", 2)
            self.end(job)
        assert job.state == state
        return job

    def end(self, job: Job) -> bool:
        return self.ledger.end(job, OkResult(id=job.id))

    def lines(self) -> list[Message]:
        """Return the messages written since the last call."""
        return [json.loads(self.writer.lines.get()) for _ in range(self.writer.lines.qsize())]


def token(job: Job) -> Token:
    return Token(id=job.id, seq=9, token="late", token_id=9)


@pytest.mark.parametrize("state", ["held", "sent"])
def test_nothing_is_sent_for_a_job_whose_final_is_made(state: str) -> None:
    books = Books()
    job = books.job(state)
    books.lines()
    held = job.delivery.held

    books.ledger.send(job, token(job))
    books.ledger.send_token(job, "late", 9)

    assert not books.lines()
    assert (job.delivery.held, job.seq) == (held, 2 if state == "held" else 0)


ENDINGS: dict[str, Callable[[Ledger, Job], Any]] = {
    "end": lambda ledger, job: ledger.end(job, OkResult(id=job.id)),
    "finish": lambda ledger, job: ledger.finish(job),
    "fail": lambda ledger, job: ledger.fail(job, WireError("internal", "broken")),
    "end_cancelled": lambda ledger, job: ledger.end_cancelled(job),
    "end_expired": lambda ledger, job: ledger.end_expired(job),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_that_has_its_final_gets_no_second_one(ending: str) -> None:
    books = Books()
    job = books.job("sent")
    books.lines()

    assert ENDINGS[ending](books.ledger, job) is False
    assert not books.lines()
    assert books.ended == [job]


@pytest.mark.parametrize("ending", ["end", "finish", "fail"])
def test_a_job_that_is_held_keeps_the_final_that_waits(ending: str) -> None:
    books = Books()
    job = books.job("held")
    assert ENDINGS[ending](books.ledger, job) is False

    books.ledger.grant(job, 1)

    assert [line["type"] for line in books.lines()] == ["token", "token", "result"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("state", ["queued", "prefill"])
def test_a_job_that_waits_or_works_ends_in_each_way(state: str, ending: str) -> None:
    books = Books()
    job = books.job(state)

    assert ENDINGS[ending](books.ledger, job) is not False

    (final,) = books.lines()
    assert final["final"]
    assert (job.state, books.ledger.jobs, books.ended) == ("sent", {}, [job])


@pytest.mark.parametrize("state", ["held", "sent"])
def test_a_job_that_has_ended_does_not_start_or_decode(state: str) -> None:
    books = Books()
    job = books.job(state)

    assert not books.ledger.start(job)
    books.ledger.begin_decode(job)

    assert job.state == state


def test_a_second_first_token_changes_nothing() -> None:
    books = Books()
    job = books.job("prefill")
    books.ledger.begin_decode(job)
    books.ledger.begin_decode(job)

    assert job.state == "decode"


def test_a_cancelled_job_that_completes_behind_held_messages_waits_for_no_credit() -> None:
    books = Books()
    job = books.job("prefill", window=1)
    books.ledger.send_token(job, "told", 1)
    books.ledger.send_token(job, "held", 2)
    books.ledger.request_cancel([job])
    assert books.wakes == 1

    assert books.end(job)

    final = books.lines()[-1]
    assert (final["finish_reason"], final["tokens_generated"]) == ("cancelled", 1)


def test_a_cancel_and_the_end_of_input_reach_every_job_that_is_held() -> None:
    cancelled, opened = Books(), Books()
    for books in (cancelled, opened):
        for name in "abc":
            books.job("held", name)
        books.lines()

    cancelled.ledger.request_cancel(cancelled.ledger.jobs.values())
    opened.ledger.open_windows()

    assert [line["finish_reason"] for line in cancelled.lines()] == ["cancelled"] * 3
    assert [line["type"] for line in opened.lines()] == ["token", "result"] * 3
    assert not cancelled.ledger.jobs
    assert not opened.ledger.jobs


def test_credit_that_does_not_reach_to_the_end_leaves_the_job_held() -> None:
    books = Books()
    job = books.job("prefill", window=1)
    assert books.ledger.grant(job, 1) == 2
    assert job.state == "prefill"
    for number in range(4):
        books.ledger.send_token(job, "x", number)
    books.end(job)

    books.ledger.grant(job, 1)
    assert job.state == "held"
    books.ledger.grant(job, 1)
    assert job.state == "sent"


def test_progress_is_left_out_while_messages_wait_for_credit() -> None:
    books = Books()
    job = books.job("prefill", window=1)
    progress = Progress(id="r", stage="prefill", done=1, total=2)
    books.ledger.send(job, progress)
    assert job.delivery.credit == 1
    books.ledger.send(job, token(job))
    books.ledger.send(job, progress)

    assert [line["type"] for line in books.lines()] == ["progress", "token"]
    assert not job.delivery.held


def test_requests_and_the_errors_among_them_are_counted() -> None:
    books = Books()
    books.ledger.fail(books.job("queued", "a"), WireError("internal", "broken"))
    books.end(books.job("queued", "b"))
    books.job("queued", "asks")

    sums = books.ledger.totals.result("asks", books.ledger.jobs.values(), MemoryUse())

    assert (sums.requests, sums.errors) == (3, 1)
