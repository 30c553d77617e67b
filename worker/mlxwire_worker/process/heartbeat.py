"""Sends the `heartbeat` event: the engine's phase and the seconds since its last step.

The reader's thread sends it, so heartbeats continue while the engine computes and while it hangs.
A long prefill takes steps; an engine that hangs does not.
"""

from __future__ import annotations

import time

from ..requests.conversation import Conversation
from ..scheduling.pulse import Pulse


class Heartbeat:
    """Sends a heartbeat every ``seconds``, if the host asked for the event in `hello`."""

    def __init__(self, conversation: Conversation, pulse: Pulse, seconds: float) -> None:
        self._conversation = conversation
        self._pulse = pulse
        self._seconds = seconds
        self._next = time.perf_counter() + seconds

    def beat_if_due(self) -> None:
        """Send a `heartbeat` event if ``seconds`` have passed since the last one."""
        now = time.perf_counter()
        if now < self._next or "heartbeat" not in self._conversation.subscribed:
            return
        self._next = now + self._seconds
        pulse = self._pulse
        self._conversation.send_event(
            "heartbeat",
            {
                "phase": pulse.phase,
                "steps": pulse.steps,
                "last_step_seconds": now - pulse.last_step,
            },
        )
