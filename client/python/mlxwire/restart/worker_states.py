"""What may become of a supervised worker, and what its host is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import MlxwireError
from ..options import Path

State = Literal["stopped", "starting", "ready", "draining", "restarting", "failed", "closed"]
Step = Literal["start", "ready", "drain", "crash", "give_up", "stop", "close"]

_OPEN: tuple[State, ...] = (
    *("stopped", "starting", "ready"),
    *("draining", "restarting", "failed"),
)
TRANSITIONS: dict[tuple[State, Step], State] = {
    ("stopped", "start"): "starting",
    ("starting", "ready"): "ready",
    ("starting", "crash"): "restarting",
    ("ready", "drain"): "draining",
    ("ready", "crash"): "restarting",
    ("draining", "crash"): "restarting",
    ("restarting", "start"): "starting",
    ("restarting", "give_up"): "failed",
    **{(state, "stop"): "stopped" for state in _OPEN},
    **{(state, "close"): "closed" for state in _OPEN},
}

ChangeKind = Literal["started", "ready", "crashed", "restarting", "gave_up", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerChange:
    """Something that became of a supervised worker.

    ``started``: it answered hello; ``ready``: its model is loaded; ``crashed``, by ``error``:
    it died, or could not be started; ``restarting``: another starts in ``delay`` seconds;
    ``gave_up``: none will, and requests get ``error``; ``stopped``: it was ended, and the next
    request starts it again. ``path`` is its model's.
    """

    kind: ChangeKind
    pid: int | None
    path: Path | None = None
    error: MlxwireError | None = None
    delay: float | None = None
