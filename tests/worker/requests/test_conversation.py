"""The reader's side: what is refused while the worker ends, and what a host is told unasked."""

from __future__ import annotations

import pytest

from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect


@pytest.mark.parametrize("end", ["quit", "end of input"])
def test_a_worker_that_is_ending_takes_no_request(
    connect: Connect, engine: GatedEngine, end: str
) -> None:
    host = connect()
    running = host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    quit_id = host.send("quit") if end == "quit" else None
    if quit_id is None:
        host.session.cancel_all()

    for cmd in ("info", "quit"):
        assert host.ask(cmd)["error"]["code"] == "shutting_down"
    assert not host.finals(running)

    host.session.finish()
    assert host.final(running)["finish_reason"] == "cancelled"
    if quit_id is not None:
        assert host.final(quit_id)["type"] == "result"
        assert host.order[-1]["id"] == quit_id


def test_what_is_in_flight_when_the_worker_ends_is_cancelled(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    ids = [host.send("generate", **ENDLESS) for _ in range(2)]
    engine.open()
    host.first_token(ids[0])

    host.session.cancel_all()

    assert [host.final(one)["finish_reason"] for one in ids] == ["cancelled"] * 2


def test_a_worker_that_owes_nothing_but_the_answer_to_quit_is_idle(connect: Connect) -> None:
    host = connect()
    assert host.session.idle
    host.send("quit")

    assert host.session.idle


def test_a_host_that_does_not_read_is_told_no_news(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    for _ in range(2):
        host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    host.session.send_event("heartbeat", {"phase": "prefill"})
    told = host.receive()["data"]
    assert told == {"phase": "prefill", "in_flight": 2, "queued": 1}

    host.writer.full = True
    host.session.send_event("heartbeat", {})

    assert host.no_more()
    host.make_room()
