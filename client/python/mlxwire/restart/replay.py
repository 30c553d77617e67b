"""Restore the model and the memory limits in each new process of a worker with `restart`.

The model is the one of the last successful load. A load that fails after its checks, or is
cancelled then, may leave a process without a model (SPEC §4.1). The worker then keeps its
earlier model, and the next request that needs a model loads it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..connection.child import REPLACED, Child, LoadCall
from ..errors import ModelNotLoaded
from ..requests.pending import ask
from ..requests.route import ModelRoute

LIMITS_OF_A_MODEL = ("memory_limit", "prompt_cache_limit")
"""Limits of `memory` that each `load` resets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A load for each later process; ``route``, the model's, outlives the processes."""

    route: ModelRoute
    call: LoadCall

    async def load_in(self, child: Child) -> ModelRoute:
        """Load the model into one process; return its route there. Raises: as `Worker.load`."""
        route = await child.load(self.call)
        self.route.loaded = route.loaded
        return route


class Replay:
    """Holds the planned load and limits, and applies them to a process."""

    def __init__(self) -> None:
        self.plan: LoadPlan | None = None
        """None before the first load, and after the model was closed."""
        self._memory: dict[str, Any] = {}
        self._in_child: ModelRoute | None = None
        """The route to the planned model in the current process."""
        self._doubtful: Child | None = None
        """A process in which a load failed, so that it may have lost the planned model."""
        self._restoring: asyncio.Task[None] | None = None

    def adopt(self, plan: LoadPlan) -> ModelRoute:
        """Make this the plan; requests to the model of the plan before fail from now on."""
        if self.plan is not None:
            self.plan.route.close(REPLACED)
        self._forget_limits_of_model()
        self.plan = plan
        return plan.route

    def drop(self, route: ModelRoute) -> bool:
        """Drop the plan for a route; return False if another load is planned, or none."""
        if self.plan is None or self.plan.route is not route:
            return False
        self.plan = self._in_child = None
        self._forget_limits_of_model()
        return True

    def keep_limits(self, limits: Mapping[str, Any]) -> None:
        """Store memory limits that were set, for each later process."""
        self._memory |= limits
        self._memory.pop("clear", None)

    async def load(self, child: Child, plan: LoadPlan) -> None:
        """Load a model now and adopt its plan; if it fails, the plan before stays.

        Raises: as `Worker.load`.
        """
        if self._restoring is not None:
            self._restoring.cancel()  # this load would only replace the restored model
        self._doubtful = child
        self._in_child = await plan.load_in(child)
        self._doubtful = None
        self.adopt(plan)

    async def prepare(self, child: Child) -> None:
        """Load the planned model into a new process, then set the limits. Raises: MlxwireError."""
        if self.plan is not None:
            self._in_child = await self.plan.load_in(child)
        if self._memory:
            await ask(child.connection, "memory", self._memory)

    async def restore(self, child: Child) -> None:
        """Load the planned model again if a failed load has removed it. Raises: as `prepare`.

        The loading goes on if the caller gives up; the next caller then finds it done.
        """
        if self._doubtful is not child or self.plan is None:
            return
        if self._restoring is None:
            self._restoring = asyncio.create_task(self._restore(child))
            self._restoring.add_done_callback(self._restored)
        await asyncio.shield(self._restoring)

    async def _restore(self, child: Child) -> None:
        if await self._is_gone():
            await self.prepare(child)
        self._doubtful = None

    async def _is_gone(self) -> bool:
        """Ask the process whether it still has the planned model.

        It takes two questions: the first is answered once the failed load is over. If that load
        was cancelled too late and succeeded, its result closes the route between the two.
        """
        assert self._in_child is not None
        try:
            await ask(self._in_child, "info", {})
            await ask(self._in_child, "info", {})
        except ModelNotLoaded:
            return True
        return False

    def _restored(self, task: asyncio.Task[None]) -> None:
        self._restoring = None
        if not task.cancelled():
            task.exception()  # marks it as seen: there may be no caller left to see it

    def _forget_limits_of_model(self) -> None:
        for name in LIMITS_OF_A_MODEL:
            self._memory.pop(name, None)
