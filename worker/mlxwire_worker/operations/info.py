"""`info`: describe the loaded model."""

from __future__ import annotations

from msgspec import structs

from mlxwire_protocol.results import InfoResult

from .operation import Operation


class InfoOperation(Operation):
    """An `info` request. It waits only for a `load` or `unload` that was sent before it."""

    __slots__ = ()

    def prepare(self) -> None:
        """End the job with the description of the model."""
        model = self.engine.model
        assert model is not None
        self.ledger.end(self.job, InfoResult(id=self.job.id, **structs.asdict(model)))
