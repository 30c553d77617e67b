"""`Patience` counts the time in which the host takes nothing, and nothing else."""

from __future__ import annotations

import os
from typing import cast

import pytest

from mlxwire_worker.process import patience
from mlxwire_worker.process.patience import EXIT_UNREAD, Patience
from mlxwire_worker.process.writer import Writer


class Ended(Exception):
    """The process would have ended."""


class Waiting:
    """A writer and a clock; the test moves both. The lines wait as long as ``figures`` is not None."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now = 100.0
        self.figures: tuple[int, int] | None = (0, 0)
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(os, "_exit", self._end)
        self._patience = Patience(cast(Writer, self), seconds)

    def progress(self) -> tuple[int, int] | None:
        return self.figures

    def _end(self, code: int) -> None:
        assert code == EXIT_UNREAD
        raise Ended

    def pass_time(self, seconds: float, *, step: float = 0.125) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self._patience.check()


def test_it_ends_after_that_time_without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch, 30)
    waiting.pass_time(30)
    with pytest.raises(Ended):
        waiting.pass_time(0.125)


@pytest.mark.parametrize("figures", [(1, 0), (0, 1)], ids=["written", "read"])
def test_each_byte_begins_the_time_again(
    monkeypatch: pytest.MonkeyPatch, figures: tuple[int, int]
) -> None:
    waiting = Waiting(monkeypatch, 30)
    for _ in range(10):
        waiting.pass_time(29)
        waiting.figures = figures
        waiting.pass_time(29)
        waiting.figures = (0, 0)


def test_nothing_to_write_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch, 1)
    waiting.figures = None
    waiting.pass_time(1000)
    waiting.figures = (0, 0)
    waiting.pass_time(1)


def test_a_worker_that_was_stopped_did_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch, 1)
    waiting.pass_time(0.5)
    waiting.now += 3600
    waiting.pass_time(0.125)
