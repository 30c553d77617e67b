"""Signs of life of the engine's thread, for heartbeats."""

from __future__ import annotations

import time


class Pulse:
    """``phase`` is what the engine's thread does, ``steps`` how many it has taken, ``last_step``
    when the last one was, in `time.perf_counter` seconds. Written by that thread alone."""

    __slots__ = ("last_step", "phase", "steps")

    def __init__(self) -> None:
        self.phase = "idle"
        self.steps = 0
        self.last_step = time.perf_counter()

    def beat(self) -> None:
        """Record that a long computation advances."""
        self.last_step = time.perf_counter()

    def step(self) -> None:
        """Record a step."""
        self.steps += 1
        self.beat()
