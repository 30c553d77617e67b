"""`detokenize`: convert token ids to text."""

from __future__ import annotations

from mlxwire_protocol.messages import Detokenize
from mlxwire_protocol.results import DetokenizeResult

from .operation import Operation


class DetokenizeOperation(Operation):
    """A `detokenize` request, answered on the prepare thread."""

    __slots__ = ()

    def prepare(self) -> None:
        """End the job with the text. Raises: WireError ``invalid_params`` for an unknown id."""
        request = self.job.command
        assert isinstance(request, Detokenize)
        text = self.engine.text_of(request.ids)
        self.ledger.end(self.job, DetokenizeResult(id=self.job.id, text=text))
