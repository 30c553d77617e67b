"""Tells the host that the engine makes progress: the `heartbeat` event.

The engine's thread writes the pulse, and the reader's thread sends the event, so heartbeats continue
while the engine computes and while it hangs. A long prefill takes steps; an engine that hangs does not.
"""

from __future__ import annotations

import time

from ..requests.conversation import Conversation


class Pulse:
    """``phase`` is what the engine's thread does, ``steps`` how many it has taken, ``last_step``
    when the last one was, in `time.perf_counter` seconds. Written by that thread alone."""

    __slots__ = ("last_step", "phase", "steps")

    def __init__(self) -> None:
        self.phase = "idle"
        self.steps = 0
        self.last_step = time.perf_counter()

    def beat(self) -> None:
        """Note that long work advances."""
        self.last_step = time.perf_counter()

    def step(self) -> None:
        """Note a step."""
        self.steps += 1
        self.beat()


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
