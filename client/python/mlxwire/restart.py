"""How often and how soon a worker that died is started again; knows no clock and no dice."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """A worker that dies more than ``max_restarts`` times within ``window`` seconds is given up.

    Before each restart passes a pause: ``backoff_min`` seconds, twice as long for each further
    crash within the window, ``backoff_max`` at most; and up to ``jitter`` of it more or less,
    by chance, so that many hosts do not start all at once.
    """

    max_restarts: int = 3
    window: float = 300.0
    backoff_min: float = 0.5
    backoff_max: float = 30.0
    jitter: float = 0.2


class CrashHistory:
    """The crashes of one worker within a sliding window. A good start in between counts for
    nothing: a worker that dies each time it is used starts well (LESSONS 34)."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._crashes)

    def crashed(self, now: float, chance: float) -> float | None:
        """Seconds to wait before the restart, or None to give up. ``chance`` is 0 to 1."""
        policy = self._policy
        self._crashes.append(now)
        while self._crashes[0] <= now - policy.window:
            self._crashes.popleft()
        if len(self._crashes) > policy.max_restarts:
            return None
        doublings = min(len(self._crashes) - 1, 64)
        pause = min(policy.backoff_max, policy.backoff_min * 2.0**doublings)
        return pause * (1 + policy.jitter * (2 * chance - 1))

    def forget(self) -> None:
        """Begin anew."""
        self._crashes.clear()
