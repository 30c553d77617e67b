"""`memory`: set limits, and tell the memory in use."""

from __future__ import annotations

from msgspec import Struct

from mlxwire_protocol.messages import Memory
from mlxwire_protocol.results import MemoryResult

from ..engine import MemoryLimits
from .operation import BetweenSteps


class MemoryOperation(BetweenSteps):
    """One `memory`."""

    __slots__ = ()

    def answer(self) -> Struct:
        """Set what is given, then tell what is in use."""
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
