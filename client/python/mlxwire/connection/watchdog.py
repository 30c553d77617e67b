"""End a worker that hangs: `liveness` judges it, the event loop keeps the time."""

from __future__ import annotations

from ..process.postmortem import hangs
from ..results import Heartbeat
from .connection import Connection
from .liveness import Liveness, LivenessLimits

LOOKS_WITHIN_LIMIT = 8
"""The number of checks within the shortest limit."""


class Watchdog:
    """Watches one connection until that ends."""

    def __init__(self, connection: Connection, limits: LivenessLimits) -> None:
        shortest = min([limits.silence, limits.step, *filter(None, limits.phases.values())])
        self._interval = shortest / LOOKS_WITHIN_LIMIT
        self._connection = connection
        self._loop = connection.loop
        self._liveness = Liveness(limits, self._interval, self._loop.time())
        self._wait()

    def take_beat(self, beat: Heartbeat) -> None:
        """Record a heartbeat."""
        self._liveness.take_beat(beat)

    def _wait(self) -> None:
        self._loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        connection = self._connection
        if connection.failure is not None:
            return
        symptom = self._liveness.symptom(connection.chunks_read, self._loop.time())
        if symptom is None:
            self._wait()
        else:
            connection.condemn(hangs(symptom, stderr_tail=connection.tail()))
