"""A training without an event loop: over a worker that trains by a script."""

from __future__ import annotations

import pytest

import mlxwire
import mlxwire.sync


def test_progress_and_result_come_in_a_for(script):
    with mlxwire.sync.Worker(script("trains", "3")) as worker:
        with worker.load("p").train("data", out="/out") as training:
            assert [step.step for step in training] == [1, 2, 3]
        assert training.result().adapter == "/out"


def test_a_result_may_be_asked_for_at_once(script):
    with mlxwire.sync.Worker(script("trains", "3")) as worker:
        assert worker.load("p").train("data", out="/out").result().steps == 3


def test_a_cancel_names_the_checkpoint(script):
    with mlxwire.sync.Worker(script("trains", "2", "endless")) as worker:
        training = worker.load("p").train("data", out="/out")
        with training:
            assert next(training).step == 1
            assert training.cancel() == "/out/checkpoints/2"
            with pytest.raises(mlxwire.RequestCancelled, match="resume"):
                training.result()
        assert training.checkpoint == "/out/checkpoints/2"


def test_leaving_the_block_waits_for_the_checkpoint(script):
    with mlxwire.sync.Worker(script("trains", "2", "endless")) as worker:
        with worker.load("p").train("data", out="/out") as training:
            next(training)
        assert training.checkpoint == "/out/checkpoints/2"
