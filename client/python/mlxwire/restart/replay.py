"""What a supervisor gives each of its workers again: the model of the last load that succeeded,
and limits of memory.

A load that fails after its checks, or is cancelled there, leaves the worker without a model
(SPEC §4.1). The one before is the supervisor's still, and is loaded again by the next need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from ..connection.route import ModelRoute
from ..errors import ModelNotLoaded
from ..model import Model
from ..options import MemoryOptions, OnProgress, Path, set_fields
from ..requests.pending import ask
from ..worker import REPLACED, Worker

LIMITS_OF_A_MODEL = ("memory_limit", "prompt_cache_limit")
"""Those of `memory` that each `load` sets anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A `load` that each worker to come is given."""

    route: ModelRoute
    path: Path
    timeout: float | None
    on_progress: OnProgress | None
    options: Mapping[str, Any]

    async def load_in(self, worker: Worker) -> Model:
        """Raises: as `Worker.load`."""
        model = await worker.load(
            self.path, timeout=self.timeout, on_progress=self.on_progress, **self.options
        )
        self.route.loaded = model.loaded
        return model


class Replay:
    """Holds the plan, and sees to it that a worker has what is planned."""

    def __init__(self) -> None:
        self.plan: LoadPlan | None = None
        """None where no model was loaded, or that was closed."""
        self._memory: dict[str, Any] = {}
        self._model: Model | None = None
        """The plan's, as the worker of the moment knows it."""
        self._doubtful: Worker | None = None
        """In which a load failed, so that the plan's model may be gone from it."""
        self._restoring: asyncio.Task[None] | None = None

    def adopt(self, plan: LoadPlan) -> ModelRoute:
        """From now on this is the one; requests of the one before are errors."""
        if self.plan is not None:
            self.plan.route.close(REPLACED)
        self._forget_limits_of_model()
        self.plan = plan
        return plan.route

    def drop(self, route: ModelRoute) -> bool:
        """Plan nothing any more; False where another load is planned."""
        if self.plan is None or self.plan.route is not route:
            return False
        self.plan = self._model = None
        self._forget_limits_of_model()
        return True

    def keep_limits(self, **limits: Unpack[MemoryOptions]) -> None:
        """They were set, and each worker to come gets them too."""
        self._memory |= set_fields(**limits)
        self._memory.pop("clear", None)

    async def load(self, worker: Worker, plan: LoadPlan) -> None:
        """Load it now; the plan of before stays where that fails. Raises: as `Worker.load`."""
        if self._restoring is not None:
            self._restoring.cancel()  # this one would only be replaced
        self._doubtful = worker
        self._model = await plan.load_in(worker)
        self._doubtful = None
        self.adopt(plan)

    async def prepare(self, worker: Worker) -> None:
        """Give it the model, and then the limits. Raises: what either failed with."""
        if self.plan is not None:
            self._model = await self.plan.load_in(worker)
        if self._memory:
            await ask(worker.connection, "memory", self._memory)

    async def restore(self, worker: Worker) -> None:
        """Load the planned model again where a load that failed has cost it. Raises: as `prepare`.

        The loading goes on where whoever waits for it gives up: the next one finds it done.
        """
        if self._doubtful is not worker or self.plan is None:
            return
        if self._restoring is None:
            self._restoring = asyncio.create_task(self._restore(worker))
            self._restoring.add_done_callback(self._restored)
        await asyncio.shield(self._restoring)

    async def _restore(self, worker: Worker) -> None:
        if await self._is_gone():
            await self.prepare(worker)
        self._doubtful = None

    async def _is_gone(self) -> bool:
        """The first answer comes when the load that failed is over, and the second tells: had it
        been cancelled too late, it would have replaced the model between the two."""
        assert self._model is not None
        try:
            await self._model.info()
            await self._model.info()
        except ModelNotLoaded:
            return True
        return False

    def _restored(self, task: asyncio.Task[None]) -> None:
        self._restoring = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may

    def _forget_limits_of_model(self) -> None:
        for name in LIMITS_OF_A_MODEL:
            self._memory.pop(name, None)
