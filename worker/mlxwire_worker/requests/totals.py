"""Sums over all requests of a worker's life, for the answer to `metrics`."""

from __future__ import annotations

import time
from collections.abc import Collection

from msgspec import structs

from mlxwire_protocol.replies import Done
from mlxwire_protocol.results import MetricsResult, WorkerMetrics

from ..engine import MemoryUse
from .job import Job


class Totals:
    """Counts of requests, tokens and seconds. Guarded by the ledger's lock."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sums = WorkerMetrics()

    def accepted(self) -> None:
        """Count a request."""
        self._sums.requests += 1

    def failed(self) -> None:
        """Count an error, of a request or of a line that is no request."""
        self._sums.errors += 1

    def ended(self, done: Done) -> None:
        """Add a stream's figures."""
        sums, one = self._sums, done.metrics
        sums.cancelled += done.finish_reason == "cancelled"
        sums.prompt_tokens += one.prompt_tokens
        sums.cached_tokens += one.cached_tokens
        sums.generated_tokens += one.generated_tokens
        sums.queue_seconds += one.queue_seconds
        sums.prefill_seconds += one.prefill_seconds
        sums.decode_seconds += one.decode_seconds

    def result(
        self, request_id: str, jobs: Collection[Job], memory: MemoryUse
    ) -> MetricsResult:
        """Return the sums and the state now as the answer to a `metrics` request.

        ``jobs`` are all that owe their final, that request among them.
        """
        sums = self._sums
        queued = sum(job.stage == "queued" for job in jobs)
        figures = structs.asdict(sums)
        figures.update(
            in_flight=len(jobs) - 1,
            queued=queued - 1,
            batch_size=len(jobs) - queued,
            uptime_seconds=time.perf_counter() - self._started,
            active_memory_bytes=memory.active_bytes,
            peak_memory_bytes=memory.peak_bytes,
            prefill_tokens_per_second=_rate(sums.prompt_tokens, sums.prefill_seconds),
            decode_tokens_per_second=_rate(sums.generated_tokens, sums.decode_seconds),
        )
        return MetricsResult(id=request_id, **figures)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
