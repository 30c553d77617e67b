"""The worker's clock in the hands of a test, for deadlines that pass when the test says so."""

from __future__ import annotations

import time

import pytest


class SkippingClock:
    """Stands for `time.perf_counter`: the real time, and as much more as was skipped."""

    def __init__(self) -> None:
        self._real = time.perf_counter
        self._skipped = 0.0

    def __call__(self) -> float:
        return self._real() + self._skipped

    def skip(self, seconds: float) -> None:
        """Set the clock forward. A thread that waits by now learns of it when it is woken."""
        self._skipped += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    """Give the worker's core of this process a clock that can be set forward."""
    skipping = SkippingClock()
    monkeypatch.setattr(time, "perf_counter", skipping)
    return skipping
