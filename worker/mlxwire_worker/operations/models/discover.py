"""`discover`: list the models in folders and in the hub's local cache, without loading one."""

from __future__ import annotations

from typing import Any

from mlxwire_protocol import error_body
from mlxwire_protocol.models.replies import BrokenModel, FoundModel
from mlxwire_protocol.models.requests import Discover

from ...folders import FoundFolder
from ..operation import Reading


class DiscoverOperation(Reading):
    """A `discover` request, whose items are sent as the folders are read."""

    __slots__ = ()

    def work(self) -> None:
        """Read the folders and send an item for each model."""
        request = self.job.command
        assert isinstance(request, Discover)
        hub = not request.paths if request.hub_cache is None else request.hub_cache
        found = self.engine.find_models(
            request.paths, hub_cache=hub, full=request.check == "full"
        )
        index = 0
        for folder in found:
            if self.ends_early():
                return
            if folder is None:
                continue
            self.job.note_results()
            self.ledger.send(self.job, self._item(index, folder))
            index += 1
        if not self.ends_early():
            self.ledger.finish(self.job)

    def _item(self, index: int, folder: FoundFolder) -> FoundModel | BrokenModel:
        same: dict[str, Any] = {
            "id": self.job.id,
            "index": index,
            "path": folder.path,
            "name": folder.name,
        }
        if folder.error is not None:
            return BrokenModel(**same, error=error_body(folder.error))
        return FoundModel(**same, **(folder.described or {}))
