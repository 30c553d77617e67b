"""`info`: describe the loaded model."""

from __future__ import annotations

from msgspec import structs

from mlxwire_protocol.results import InfoResult

from .operation import Operation


class InfoOperation(Operation):
    """One `info`, answered at once unless a `load` or `unload` comes before it."""

    __slots__ = ()

    def prepare(self) -> None:
        """Answer."""
        model = self.engine.model
        assert model is not None
        self.ledger.end(self.job, InfoResult(id=self.job.id, **structs.asdict(model)))
