"""Sends the progress of a program, at most ten messages a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import structs

from mlxwire_protocol.replies import Progress
from mlxwire_protocol.training.replies import TrainProgress

from ..generation.sequence import PROGRESS_SECONDS


class ProgressFlow:
    """Holds a message that comes too early, and joins it with the next one of its stage."""

    def __init__(self, send: Callable[[Progress], None]) -> None:
        self._send = send
        self._held: Progress | None = None
        self._next = 0.0
        self._step = 0

    def take(self, progress: Progress) -> None:
        """Send a message, or hold it until `flush_due`."""
        held, self._held = self._held, None
        if held is not None and held.stage != progress.stage:
            self._put(held)
            held = None
        if isinstance(progress, TrainProgress) and isinstance(held, TrainProgress):
            progress = _joined(held, progress, self._step)
        self._held = progress
        self.flush_due()

    def flush_due(self) -> None:
        """Send the message that is held, if the last one is old enough."""
        if self._held is not None and time.perf_counter() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Send the message that is held."""
        held, self._held = self._held, None
        if held is not None:
            self._put(held)

    def _put(self, progress: Progress) -> None:
        self._next = time.perf_counter() + PROGRESS_SECONDS
        if isinstance(progress, TrainProgress):
            self._step = progress.step
        self._send(progress)


def _joined(one: TrainProgress, other: TrainProgress, since: int) -> TrainProgress:
    """Join two messages, the first of which is about the steps after ``since``.

    The loss is the mean of all their steps. A validation of the first is not lost.
    """
    first, second = max(one.step - since, 0), max(other.step - one.step, 0)
    weight = first / (first + second) if first + second else 0.0
    validation = other.validation_loss
    return structs.replace(
        other,
        loss=weight * one.loss + (1 - weight) * other.loss,
        validation_loss=one.validation_loss if validation is None else validation,
    )
