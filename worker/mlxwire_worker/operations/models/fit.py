"""`fit`: predict the memory that a model needs."""

from __future__ import annotations

from msgspec import structs

from mlxwire_protocol.models.replies import FitResult
from mlxwire_protocol.models.requests import Fit

from ...folders import FitOptions
from ...requests.failures import no_model
from ..operation import Reading


class FitOperation(Reading):
    """A `fit` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """Check that there is a model. Raises: WireError ``model_not_loaded``."""
        request = self.job.command
        assert isinstance(request, Fit)
        if request.path is None and self.engine.model is None:
            raise no_model()

    def work(self) -> None:
        """Read the folder and end the job with the prediction."""
        request = self.job.command
        assert isinstance(request, Fit)
        options = structs.asdict(request)
        del options["id"]
        fit = self.engine.fit(FitOptions(**options))
        if not self.ends_early():
            self.ledger.end(self.job, FitResult(id=self.job.id, **structs.asdict(fit)))
