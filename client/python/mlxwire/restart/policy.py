"""How often and how soon a worker that died is started again; knows no clock and no dice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


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
    nothing: a worker that dies each time it is used starts well (lesson 34)."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[tuple[float, bool]] = deque()

    def __len__(self) -> int:
        return len(self._crashes)

    @property
    def serving(self) -> int:
        """At how many of them requests were in flight."""
        return sum(serving for _, serving in self._crashes)

    def crashed(self, now: float, chance: float, *, serving: bool = False) -> float | None:
        """Seconds to wait before the restart, or None to give up. ``chance`` is 0 to 1."""
        policy = self._policy
        self._crashes.append((now, serving))
        while self._crashes[0][0] <= now - policy.window:
            self._crashes.popleft()
        if len(self._crashes) > policy.max_restarts:
            return None
        doublings = min(len(self._crashes) - 1, 64)
        pause = min(policy.backoff_max, policy.backoff_min * 2.0**doublings)
        return pause * (1 + policy.jitter * (2 * chance - 1))

    def forget(self) -> None:
        """Begin anew."""
        self._crashes.clear()


class Request(Protocol):
    """What was asked."""

    @property
    def command(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


class Suspect:
    """Finds a request that kills one worker after the other. The same one, alone in flight at two
    crashes in a row, is no chance; among others nothing tells it from those."""

    def __init__(self) -> None:
        self._alone: tuple[str, Mapping[str, Any]] | None = None

    def crashed(self, in_flight: Sequence[Request]) -> bool:
        """Note a crash; whether the only request was the only one at the crash before too."""
        before, self._alone = self._alone, None
        if len(in_flight) == 1:
            self._alone = (in_flight[0].command, in_flight[0].fields)
        return self._alone is not None and self._alone == before
