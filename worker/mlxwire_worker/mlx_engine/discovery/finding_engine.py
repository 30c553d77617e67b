"""The part of the engine that finds models on disk, and describes them without MLX."""

from __future__ import annotations

from collections.abc import Iterator

from ...folders import FoundFolder
from ..keeping import KeepingEngine


class FindingEngine(KeepingEngine):
    """The command `discover`."""

    def find_models(
        self, paths: list[str], *, hub_cache: bool, full: bool
    ) -> Iterator[FoundFolder | None]:
        """Yield each model in the folders and in the hub's cache, with its description or error."""
        from .discovering import Discovery
        from .expected_dtype import Machine

        held = self.memory().active_bytes
        with Discovery(self._paths, Machine.here(held), full=full) as discovery:
            yield from discovery.folders(paths)
            if hub_cache:
                yield from discovery.hub_cache()
