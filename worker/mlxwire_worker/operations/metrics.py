"""`metrics`: report sums since the worker's start, and its present state."""

from __future__ import annotations

from .operation import Operation


class MetricsOperation(Operation):
    """A `metrics` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """End the job with the sums and the state."""
        ledger, job = self.ledger, self.job
        ledger.end(job, ledger.totals.result(job.id, ledger.jobs.values(), ledger.memory()))
