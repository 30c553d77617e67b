"""Ends a worker that lives and makes no progress: `liveness` judges, the loop keeps the time."""

from __future__ import annotations

from ..process.postmortem import hangs
from ..results import Heartbeat
from .connection import Connection
from .liveness import Liveness, LivenessLimits

LOOKS_WITHIN_LIMIT = 8
"""How often it is looked within the shortest limit."""


class Watchdog:
    """Looks after one connection until that ends."""

    def __init__(self, connection: Connection, limits: LivenessLimits) -> None:
        shortest = min([limits.silence, limits.step, *filter(None, limits.phases.values())])
        self._interval = shortest / LOOKS_WITHIN_LIMIT
        self._connection = connection
        self._loop = connection.loop
        self._liveness = Liveness(limits, self._interval, self._loop.time())
        self._wait()

    def take_beat(self, beat: Heartbeat) -> None:
        """A heartbeat has come."""
        self._liveness.take_beat(beat)

    def _wait(self) -> None:
        self._loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        connection = self._connection
        if connection.failure is not None:
            return
        verdict = self._liveness.verdict(connection.chunks_read, self._loop.time())
        if verdict is None:
            self._wait()
        else:
            connection.condemn(hangs(verdict, stderr_tail=connection.tail()))
