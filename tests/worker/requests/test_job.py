"""The table of a job's life: every way that it holds works, and no other does."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from mlxwire_protocol.messages import Generate
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import TRANSITIONS, Job, JobEvent, State

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[JobEvent, ...] = get_args(JobEvent)
TAKE: dict[JobEvent, Callable[[Job], None]] = {
    "queue": Job.queue,
    "start": Job.start,
    "first_token": Job.begin_decode,
    "cancel": Job.request_cancel,
    "hold": Job.hold,
    "send": Job.send,
}
WAYS: dict[State, list[JobEvent]] = {
    "accepted": [],
    "queued": ["queue"],
    "prefill": ["queue", "start"],
    "decode": ["queue", "start", "first_token"],
    "held": ["queue", "start", "first_token", "hold"],
    "sent": ["send"],
}
"""The events that bring a new job to each state."""


def job_that_is(state: State) -> Job:
    job = Job(Generate(id="r", prompt="x"), Delivery(lambda _: None, None))
    for event in WAYS[state]:
        TAKE[event](job)
    assert job.state == state
    return job


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_a_job_takes_an_event_as_its_table_says(state: State, event: JobEvent) -> None:
    job = job_that_is(state)

    following = TRANSITIONS.get((state, event))

    if following is None:
        with pytest.raises(RuntimeError, match=f"{state} can't take the event {event}"):
            TAKE[event](job)
        assert job.state == state
    else:
        TAKE[event](job)
        assert job.state == following


def test_every_state_is_reached_and_only_sent_is_the_end() -> None:
    reached = {"accepted", *TRANSITIONS.values()}

    assert reached == set(STATES)
    assert set(STATES) - {state for state, _ in TRANSITIONS} == {"sent"}


@pytest.mark.parametrize("state", [state for state in STATES if state != "sent"])
def test_a_cancel_is_noted_and_moves_no_job(state: State) -> None:
    job = job_that_is(state)

    job.request_cancel()

    assert job.cancel_requested
    assert job.state == state


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        ("accepted", "queued"),
        ("queued", "queued"),
        ("prefill", "prefill"),
        ("decode", "decode"),
        ("held", "decode"),
    ],
)
def test_a_job_tells_the_stage_in_which_a_cancel_finds_it(state: State, stage: str) -> None:
    assert job_that_is(state).stage == stage


def test_a_job_expires_at_its_deadline_unless_it_has_ended() -> None:
    job = Job(Generate(id="r", prompt="x", deadline_seconds=5), Delivery(lambda _: None, None))
    assert job.deadline is not None
    assert not job.expired(job.deadline - 1)
    assert job.expired(job.deadline)
    job.send()

    assert not job.expired(job.deadline)
