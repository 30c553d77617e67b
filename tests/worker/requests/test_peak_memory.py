"""The peak memory of a job is that of the time in which it ran."""

from __future__ import annotations

from mlxwire_protocol.messages import Generate
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import Job
from mlxwire_worker.requests.peak_memory import PeakMemory


def job() -> Job:
    return Job(Generate(id="r", prompt="x"), Delivery(lambda line: None, None))


class Counter:
    """The peak since the last restart, as MLX counts it."""

    def __init__(self) -> None:
        self.peak = 0

    def restart(self) -> int:
        peak, self.peak = self.peak, 0
        return peak


def test_a_peak_before_the_start_or_after_the_end_is_not_the_jobs() -> None:
    counter = Counter()
    peaks = PeakMemory(counter.restart)
    counter.peak = 900
    early, late = job(), job()

    peaks.start(early)
    counter.peak = 50
    assert peaks.of(early, counter.peak) == 50
    peaks.end(early)
    peaks.start(late)
    counter.peak = 7

    assert peaks.of(late, counter.peak) == 7
    assert peaks.of(early, counter.peak) == 0


def test_jobs_that_run_together_share_the_peaks_of_that_time() -> None:
    counter = Counter()
    peaks = PeakMemory(counter.restart)
    first, second = job(), job()

    peaks.start(first)
    counter.peak = 80
    peaks.start(second)
    counter.peak = 30

    assert peaks.of(first, counter.peak) == 80
    assert peaks.of(second, counter.peak) == 30
    counter.peak = 90
    assert (peaks.of(first, counter.peak), peaks.of(second, counter.peak)) == (90, 90)
