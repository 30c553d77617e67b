"""Whether a worker still makes progress, judged by its heartbeats alone; knows no clock.

A long prefill takes steps, a wedge does not, and a process that was stopped says nothing at
all (lesson 37). `watchdog` feeds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..results import Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessLimits:
    """Seconds until a worker counts as dead, though its process is there.

    ``silence``: nothing came, not even a heartbeat. ``step``: it computes and took no step.
    ``phases`` has other limits for some phases of `Heartbeat`, None for none; a ``load`` has
    none, since it may read from a slow disk.
    """

    silence: float = 30.0
    step: float = 120.0
    phases: Mapping[str, float | None] = field(
        default_factory=lambda: {"idle": None, "load": None}
    )

    def of(self, phase: str) -> float | None:
        """How long a step of that phase may take."""
        return self.phases.get(phase, self.step)


class Liveness:
    """Judges from what was heard by when. ``interval`` is how often `verdict` is asked.

    A look that comes late counts as little more than one interval: a host that stood still
    itself, or slept with the whole machine, may not blame its worker.
    """

    def __init__(self, limits: LivenessLimits, interval: float, now: float) -> None:
        self._limits = limits
        self._interval = interval
        self._looked = now
        self._heard = 0
        self._silent = 0.0
        self._beat: Heartbeat | None = None
        self._stuck = 0.0

    def take_beat(self, beat: Heartbeat) -> None:
        """A heartbeat has come."""
        before, self._beat = self._beat, beat
        if before is None or (before.phase, before.steps) != (beat.phase, beat.steps):
            self._stuck = 0.0

    def verdict(self, heard: int, now: float) -> str | None:
        """What is wrong with it, or None. ``heard`` changes whenever anything comes."""
        passed = min(now - self._looked, 2 * self._interval)
        self._looked = now
        self._silent = self._silent + passed if heard == self._heard else 0.0
        self._heard = heard
        self._stuck += passed
        return self._is_silent() or self._is_wedged()

    def _is_silent(self) -> str | None:
        if self._silent < self._limits.silence:
            return None
        return f"has said nothing for {self._silent:.0f} s: it was stopped, or hangs"

    def _is_wedged(self) -> str | None:
        beat = self._beat
        if beat is None:
            return None
        limit = self._limits.of(beat.phase)
        if limit is None:
            return None
        # The worker's clock runs on where ours did not; both must agree. And the age that it
        # tells is of the step before, where it has only just begun.
        stuck = min(self._stuck, beat.last_step_seconds)
        if stuck < limit:
            return None
        return f"hangs: in phase {beat.phase} it took no step for {stuck:.0f} s"
