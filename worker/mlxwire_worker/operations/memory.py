"""`memory`: set memory limits, and report the memory in use."""

from __future__ import annotations

from msgspec import Struct

from mlxwire_protocol.messages import Memory
from mlxwire_protocol.results import MemoryResult

from ..engine import MemoryLimits
from .operation import BetweenSteps


class MemoryOperation(BetweenSteps):
    """A `memory` request."""

    __slots__ = ()

    def answer(self) -> Struct:
        """Set the limits that are given, then return the memory in use."""
        request = self.job.command
        assert isinstance(request, Memory)
        limits = MemoryLimits(
            memory_limit=request.memory_limit,
            prompt_cache_limit=request.prompt_cache_limit,
            buffer_limit=request.buffer_limit,
            wired_limit=request.wired_limit,
        )
        figures = self.engine.set_memory(limits, clear=request.clear)
        return MemoryResult(id=self.job.id, **figures._asdict())
