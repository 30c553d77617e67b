"""Many prompts in one request: what each became, as it ends."""

from __future__ import annotations

from .results import BatchResult
from .stream import Stream


class BatchStream(Stream[BatchResult]):
    """A `Stream` of `BatchResult`s, in the order in which the prompts end.

    A prompt that fails has its own ``error`` and costs the others nothing. Leaving early cancels
    all that is left.
    """

    async def results(self) -> list[BatchResult]:
        """All of them at once, in the order of the prompts. Raises: as `take_all`."""
        return sorted(await self.take_all(), key=lambda result: result.index)
