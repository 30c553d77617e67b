"""The peak memory of each running job, from one counter of the whole process.

MLX knows one peak, since it was last reset. Each start of a job ends a span: the span's peak
counts for the jobs that ran in it, and the next span begins for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from .job import Job


class PeakMemory:
    """The peaks of the jobs that have started and not ended. Guarded by the ledger's lock.

    ``restart`` returns the highest number of bytes in use since its last call.
    """

    def __init__(self, restart: Callable[[], int]) -> None:
        self._restart = restart
        self._so_far: dict[Job, int] = {}

    def start(self, job: Job) -> None:
        """Begin to watch a job. On the engine's thread, between two steps."""
        peak = self._restart()
        for other, before in self._so_far.items():
            self._so_far[other] = max(before, peak)
        self._so_far[job] = 0

    def of(self, job: Job, since_restart: int) -> int:
        """Return a job's peak in bytes, given the peak since the last start; 0 before its own."""
        before = self._so_far.get(job)
        return 0 if before is None else max(before, since_restart)

    def end(self, job: Job) -> None:
        """Forget a job."""
        self._so_far.pop(job, None)
