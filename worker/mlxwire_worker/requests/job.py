"""One accepted request inside the worker: its command, its clock, and whether it has ended."""

from __future__ import annotations

import time
from typing import Any

from mlxwire_protocol.messages import Command, command_name
from mlxwire_protocol.replies import CancelStage, RequestMetrics

from .delivery import Delivery


class Job:
    """Created when a request is accepted, ended by exactly one final reply.

    Times are `time.perf_counter` seconds. ``stage`` is where a cancel would find it.
    """

    __slots__ = (
        "accepted", "batch_size", "cancelled", "command", "deadline", "delivery", "ended",
        "first_token", "generated", "last_token", "parts_left", "prepared", "prompt_tokens",
        "seq", "stage", "started",
    )  # fmt: skip

    def __init__(self, command: Command, delivery: Delivery) -> None:
        self.command = command
        self.delivery = delivery
        self.accepted = time.perf_counter()
        seconds: float | None = getattr(command, "deadline_seconds", None)
        self.deadline = None if seconds is None else self.accepted + seconds
        self.stage: CancelStage = "queued"
        self.cancelled = False
        self.ended = False
        self.prepared: Any = None
        self.started: float | None = None
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.prompt_tokens = 0
        self.generated = 0
        self.seq = 0
        self.batch_size = 0
        self.parts_left = 0

    @property
    def over(self) -> bool:
        """Whether its final has been sent."""
        return self.ended and not self.delivery.finished

    def expired(self, now: float) -> bool:
        """Whether its deadline has passed before its end."""
        return self.deadline is not None and now >= self.deadline and not self.over

    @property
    def id(self) -> str:
        """The id that the host chose."""
        return self.command.id

    @property
    def name(self) -> str:
        """The command's name."""
        return command_name(self.command)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were not computed, since an earlier request had."""
        return getattr(self.prepared, "cached_tokens", 0)

    @property
    def cache_miss(self) -> str | None:
        """Why no more were."""
        return getattr(self.prepared, "cache_miss", None)

    def metrics(self, *, active_memory: int, peak_memory: int) -> RequestMetrics:
        """What the request took, up to now."""
        now = time.perf_counter()
        started, first, last = self.started, self.first_token, self.last_token
        prefill = 0.0 if started is None else (first or now) - started
        decode = (last - first) if first is not None and last is not None else 0.0
        return RequestMetrics(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            cache_miss=self.cache_miss,
            generated_tokens=self.generated,
            queue_seconds=(started or now) - self.accepted,
            prefill_seconds=prefill,
            decode_seconds=decode,
            total_seconds=now - self.accepted,
            first_token_seconds=None if first is None else first - self.accepted,
            prefill_tokens_per_second=(self.prompt_tokens - self.cached_tokens) / prefill
            if first and prefill
            else 0.0,
            decode_tokens_per_second=max(self.generated - 1, 0) / decode if decode > 0 else 0.0,
            peak_memory_bytes=peak_memory,
            active_memory_bytes=active_memory,
            batch_size=self.batch_size,
        )
