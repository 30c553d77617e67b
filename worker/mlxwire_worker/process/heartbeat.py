"""The `heartbeat` event: what the engine does and how long ago it last took a step.

Sent from the reader's thread, so it goes on while the engine computes, and while it hangs: a
long prefill takes steps, a wedge does not.
"""

from __future__ import annotations

import time

from ..requests.session import Session
from ..scheduling.scheduler import Scheduler


class Heartbeat:
    """Beats every ``seconds`` if the host asked for it in `hello`."""

    def __init__(self, session: Session, scheduler: Scheduler, seconds: float) -> None:
        self._session = session
        self._scheduler = scheduler
        self._seconds = seconds
        self._next = time.perf_counter() + seconds

    def beat_if_due(self) -> None:
        """Send the event, if its time has come."""
        now = time.perf_counter()
        if now < self._next or "heartbeat" not in self._session.events:
            return
        self._next = now + self._seconds
        scheduler = self._scheduler
        self._session.send_event(
            "heartbeat",
            {
                "phase": scheduler.phase,
                "steps": scheduler.steps,
                "last_step_seconds": now - scheduler.last_step,
            },
        )
