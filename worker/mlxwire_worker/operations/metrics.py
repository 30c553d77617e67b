"""`metrics`: sums over the worker's life, and its state now."""

from __future__ import annotations

from .operation import Operation


class MetricsOperation(Operation):
    """One `metrics`."""

    __slots__ = ()

    def prepare(self) -> None:
        """Answer."""
        ledger, job = self.ledger, self.job
        ledger.end(job, ledger.totals.result(job.id, ledger.jobs.values(), ledger.memory()))
