"""The options of restarts, and the changes that are reported to the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ..errors import MlxwireError
from ..process.checks import (
    check_count,
    check_given,
    check_seconds,
    check_share,
    check_some_seconds,
)

ChangeKind = Literal["started", "ready", "crashed", "restarting", "gave_up", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """The rules by which a worker that died is started again.

    A worker that dies more than ``max_restarts`` times within ``window`` seconds is given up.
    Before each restart there is a pause: ``backoff_min`` seconds, doubled for each further crash
    within the window, at most ``backoff_max``. ``jitter`` varies the pause by up to that part
    of it, up and down, so that many hosts do not start workers at the same time.
    """

    max_restarts: int = 3
    window: float = 300.0
    backoff_min: float = 0.5
    backoff_max: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Check the rules.

        Raises: InvalidParams if one is None, negative or NaN, the window is 0, or a pause is endless.
        """
        check_given("max_restarts", self.max_restarts)
        check_given("window", self.window)
        check_given("backoff_min", self.backoff_min, finite=True)
        check_given("backoff_max", self.backoff_max, finite=True)
        check_count("max_restarts", self.max_restarts)
        check_some_seconds("window", self.window)
        check_seconds("backoff_min", self.backoff_min)
        check_seconds("backoff_max", self.backoff_max)
        check_share("jitter", self.jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerChange:
    """A change of a worker with ``restart``.

    ``kind``: ``started`` (the process answered hello), ``ready`` (its model is loaded),
    ``crashed`` (it died, or could not be started: ``error``), ``restarting`` (the next process
    starts in ``delay`` seconds), ``gave_up`` (no process will follow; requests get ``error``),
    ``stopped`` (it was ended; the next request starts another). ``path``: its model's folder.
    """

    kind: ChangeKind
    pid: int | None
    path: str | os.PathLike[str] | None = None
    error: MlxwireError | None = None
    delay: float | None = None
