"""The mock engine with a gate before each step and load, so that a test decides when it moves."""

from __future__ import annotations

import threading

from mlxwire_protocol import WireError
from mlxwire_protocol.results import ModelInfo
from mlxwire_worker.engine import LoadOptions, ProgressReport
from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.prompts import StepResult
from mlxwire_worker.training_site import TrainingSite

from .patience import PATIENCE_SECONDS


class GatedEngine(MockEngine):
    """Closed from the start. Loading "broken" fails, after the gate."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = threading.Condition()
        self._permits = 0
        self._open = False
        self._waiting = False
        self.passed = 0
        self.site: TrainingSite | None = None
        """The site of trainings, where a test puts another in place of the mock's."""

    @property
    def training_site(self) -> TrainingSite:
        return self.site or super().training_site

    def load(self, options: LoadOptions, report: ProgressReport) -> ModelInfo:
        self._pass()
        report("load", 0, 1)
        if options.path == "broken":
            raise WireError("model_load_failed", "broken; mend it")
        return super().load(options, report)

    def step(self) -> list[StepResult]:
        self._pass()
        return super().step()

    def allow(self, count: int = 1) -> None:
        """Let ``count`` steps or loads pass."""
        with self._condition:
            self._permits += count
            self._condition.notify_all()

    def open(self) -> None:
        """Let every further step and load pass."""
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def wait_at_gate(self) -> None:
        """Wait until the engine's thread stands before the closed gate."""
        with self._condition:
            arrived = self._condition.wait_for(
                lambda: self._waiting and not self._permits, PATIENCE_SECONDS
            )
        assert arrived, "the engine never came to the gate"

    def _pass(self) -> None:
        with self._condition:
            self._waiting = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._open or self._permits)
            self._waiting = False
            self._permits = max(self._permits - 1, 0)
            self.passed += 1
