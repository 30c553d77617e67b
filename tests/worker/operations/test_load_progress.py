"""The reports of a load tell that its engine advances, and only if it does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlxwire_protocol.messages import Load
from mlxwire_worker.operations.load import LoadOperation


def test_a_report_that_repeats_the_last_one_is_no_step_of_the_engine() -> None:
    told: list[Any] = []
    beats: list[int] = []

    def load(_options: object, report: Any) -> Any:
        for done in (0, 0, 0, 1):
            report("compile", done, 2)
        raise InterruptedError

    operation: Any = LoadOperation.__new__(LoadOperation)
    operation.job = SimpleNamespace(
        id="l", command=Load(id="l", path="m"), cancel_requested=False
    )
    operation.engine = SimpleNamespace(load=load)
    operation.ledger = SimpleNamespace(send=lambda _job, progress: told.append(progress.done))
    with pytest.raises(InterruptedError):
        operation.run(lambda: beats.append(len(told)))

    assert told == [0, 0, 0, 1]
    assert beats == [0, 3]
