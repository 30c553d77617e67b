"""Decide from a worker's heartbeats if it makes progress. Reads no clock.

A long prefill takes steps and a wedged engine takes none; a process that was stopped sends
nothing at all (docs/lessons.md 37). `watchdog` calls this module on a timer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..process.checks import check_given, check_mapping, check_some_seconds
from ..results import Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessLimits:
    """Seconds after which a worker counts as hanging, so that it is ended.

    ``silence``: without any message, not even a heartbeat. ``step``: computing without a step
    of the engine. ``phases`` overrides ``step`` for some phases of `Heartbeat`, None for no
    limit; a ``load`` has none, since it may read from a slow disk.
    """

    silence: float = 30.0
    step: float = 120.0
    phases: Mapping[str, float | None] = field(
        default_factory=lambda: {"idle": None, "load": None}
    )

    def __post_init__(self) -> None:
        """Check the limits. Raises: InvalidParams if one is None, except for a phase, or not more than 0."""
        check_given("silence", self.silence)
        check_given("step", self.step)
        check_given("phases", self.phases)
        check_mapping("phases", self.phases)
        check_some_seconds("silence", self.silence)
        check_some_seconds("step", self.step)
        for phase, seconds in self.phases.items():
            check_some_seconds(f"phases[{phase!r}]", seconds)

    def _limit_of(self, phase: str) -> float | None:
        """Return the seconds that a step of ``phase`` may take; None for no limit."""
        return self.phases.get(phase, self.step)


class Liveness:
    """Judges a worker each time `symptom` is called, which is every ``interval`` seconds.

    A late call counts as at most two intervals: if the host itself stood still, or slept with
    the whole machine, that is not the worker's fault.
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
        """Record a heartbeat."""
        before, self._beat = self._beat, beat
        if before is None or (before.phase, before.steps) != (beat.phase, beat.steps):
            self._stuck = 0.0

    def symptom(self, heard: int, now: float) -> str | None:
        """Return a description of why the worker hangs; None if it does not.

        ``heard`` is a number that changes with every message. ``now`` is in seconds.
        """
        passed = min(now - self._looked, 2 * self._interval)
        self._looked = now
        self._silent = self._silent + passed if heard == self._heard else 0.0
        self._heard = heard
        self._stuck += passed
        return self._silence() or self._wedge()

    def _silence(self) -> str | None:
        if self._silent < self._limits.silence:
            return None
        return f"has said nothing for {self._silent:.0f} s: it was stopped, or hangs"

    def _wedge(self) -> str | None:
        beat = self._beat
        if beat is None:
            return None
        limit = self._limits._limit_of(beat.phase)
        if limit is None:
            return None
        # The worker's clock runs on while the host stands still, so both clocks must agree. And
        # just after a step has begun, the age in the heartbeat is that of the step before.
        stuck = min(self._stuck, beat.last_step_seconds)
        if stuck < limit:
            return None
        return f"hangs: in phase {beat.phase} it took no step for {stuck:.0f} s"
