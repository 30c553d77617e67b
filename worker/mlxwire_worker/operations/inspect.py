"""`inspect`: write the queries and keys of a prompt's attention to a file."""

from __future__ import annotations

from typing import ClassVar

from msgspec import structs

from mlxwire_protocol.messages import Inspect
from mlxwire_protocol.results import InspectResult

from ..prompts import Inspection
from ..requests.failures import no_model
from .operation import OnePass


class InspectOperation(OnePass):
    """An `inspect` request, whose layers are computed slice by slice."""

    __slots__ = ("_inspection", "_over")

    phase: ClassVar[str] = "prefill"
    _inspection: Inspection
    _over: bool

    def prepare(self) -> None:
        """Tokenize the prompt and check the path."""
        request = self.job.command
        assert isinstance(request, Inspect)
        self._over = False
        self._inspection = self.engine.inspection(request.prompt, request.layers, request.path)
        self.job.prompt_tokens = len(self._inspection.ids)

    @property
    def over(self) -> bool:
        """Return True once the file is written."""
        return self._over

    def step(self) -> bool:
        """Compute one layer, or write the file and end the job."""
        inspected = self.engine.inspect(self._inspection)
        if inspected is None:
            return False
        self._over = True
        model = self.engine.model
        if model is None:
            raise no_model()
        self.ledger.end(
            self.job,
            InspectResult(
                id=self.job.id, model_type=model.model_type, **structs.asdict(inspected)
            ),
        )
        return True
