"""The lane of the sequences: what counts as work, what a step writes, what an end leaves."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol.messages import Batch
from mlxwire_worker.operations.batch import BatchOperation
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import Job
from mlxwire_worker.scheduling.heartbeat import Pulse
from mlxwire_worker.scheduling.lanes import SequencesLane
from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect


def test_a_batch_that_has_no_room_in_memory_is_no_work_to_wake_for(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = connect(slots=2).session.ledger
    job = Job(Batch(id="b", prompts=["a b", "c d"]), Delivery(lambda _: None, None))
    batch = BatchOperation(job, engine, ledger)
    batch.make_ready()
    lane = SequencesLane(engine, ledger, Pulse())
    lane.start(batch)
    assert lane.feed()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "has_room", lambda _: False)
        assert not lane.may_feed
        assert not lane.feed()

    assert lane.may_feed
    assert lane.feed()


def test_the_lines_of_a_step_are_written_together(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    corks, seen, put = 0, [], host.writer.put

    def cork(change: int) -> None:
        nonlocal corks
        corks += change

    def note(line: bytes) -> None:
        seen.append(corks)
        put(line)

    monkeypatch.setattr(host.writer, "cork", lambda: cork(1))
    monkeypatch.setattr(host.writer, "uncork", lambda: cork(-1))
    monkeypatch.setattr(host.writer, "put", note)
    engine.open()

    host.ask("generate", prompt="a b c")

    assert seen == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "request_",
    [
        {"cmd": "generate", "prompt": "a b"},
        {"cmd": "generate", **ENDLESS, "deadline_seconds": 0.1},
        {"cmd": "batch", "prompts": ["a b", "c"]},
        {"cmd": "cache", "action": "warm", "prompt": "a b"},
    ],
    ids=["stop", "deadline", "batch", "warm"],
)
def test_the_engine_keeps_no_sequence_that_has_ended(
    connect: Connect, engine: GatedEngine, request_: dict[str, Any]
) -> None:
    host = connect()
    engine.open()

    host.ask(**request_)

    host.load("other")  # the engine's thread has ended its turn
    assert not engine._running
