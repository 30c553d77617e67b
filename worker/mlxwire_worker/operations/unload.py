"""`unload`: drop the model and free its memory."""

from __future__ import annotations

from msgspec import Struct

from mlxwire_protocol.results import OkResult

from ..requests.failures import no_model
from .operation import Alone, Beat


class UnloadOperation(Alone):
    """An `unload` request."""

    __slots__ = ()

    def run(self, beat: Beat) -> Struct:
        """Drop the model."""
        if self.engine.model is None:
            raise no_model()
        self.engine.unload()
        return OkResult(id=self.job.id)
