"""Decide after each crash what follows: a pause and a restart, or the end.

Nothing here looks at a clock or draws random numbers; callers pass both in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..errors import (
    InvalidParams,
    MlxwireError,
    ModelLoadFailed,
    ModelNotFound,
    UnsupportedCapability,
    UnsupportedModel,
    UnsupportedProtocol,
)
from ..process.postmortem import Aftermath, crash_loop
from .policy import RestartPolicy

HOPELESS = (
    *(UnsupportedProtocol, UnsupportedCapability, UnsupportedModel),
    *(ModelNotFound, ModelLoadFailed, InvalidParams),
)
"""Errors of a start or a load that the next process would only repeat."""


class CrashHistory:
    """The crashes of one worker within a sliding window.

    A good start does not clear the history: a worker that dies each time it is used starts well
    (docs/lessons.md 34).
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[tuple[float, bool]] = deque()

    def __len__(self) -> int:
        return len(self._crashes)

    @property
    def serving(self) -> int:
        """The number of crashes that happened with requests in flight."""
        return sum(serving for _, serving in self._crashes)

    def crashed(self, now: float, chance: float, *, serving: bool = False) -> float | None:
        """Record a crash. Return the pause before the restart in seconds, or None to give up.

        ``now``: seconds. ``chance``: a random number from 0 to 1. ``serving``: with requests in
        flight.
        """
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
        """Forget all crashes."""
        self._crashes.clear()

    def verdict(self, crash: MlxwireError) -> MlxwireError:
        """Return the error that every request gets after the last crash."""
        if isinstance(crash, HOPELESS):
            return crash
        return crash_loop(
            crash,
            crashes=len(self._crashes),
            serving=self.serving,
            seconds=self._policy.window,
        )


class Request(Protocol):
    """The fields of a request that distinguish it from others."""

    @property
    def command(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


class Suspect:
    """Finds a request that kills one process after the other.

    The same request, alone in flight at two crashes in a row, is unlikely to be chance. If others
    were in flight too, nothing tells which of them it was.
    """

    def __init__(self) -> None:
        self._alone: tuple[str, Mapping[str, Any]] | None = None

    def crashed(self, in_flight: Sequence[Request]) -> Aftermath:
        """Record the requests in flight at a crash, and return the advice for its error."""
        before, self._alone = self._alone, None
        if len(in_flight) == 1:
            self._alone = (in_flight[0].command, in_flight[0].fields)
        if self._alone is not None and self._alone == before:
            return Aftermath.SAME_REQUEST_AGAIN
        return Aftermath.RESTART
