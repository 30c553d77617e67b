"""The lane of the sequences by itself: what counts as work."""

from __future__ import annotations

import pytest

from mlxwire_protocol.messages import Batch
from mlxwire_worker.operations.batch import BatchOperation
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import Job
from mlxwire_worker.scheduling.heartbeat import Pulse
from mlxwire_worker.scheduling.lanes import SequencesLane
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
