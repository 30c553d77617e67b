"""`evaluate`: the loss of data, of the loaded model or of one of its adapters."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mlxwire_protocol import invalid_params
from mlxwire_protocol.results import ModelInfo
from mlxwire_protocol.training.replies import EvaluateResult
from mlxwire_protocol.training.requests import Evaluate

from ...requests.admission import check_adapter
from .child_task import ChildTask, command_of, loaded_model
from .events import as_reply


class EvaluateOperation(ChildTask):
    """An `evaluate` request."""

    __slots__ = ()

    task = "evaluate"
    doing = "the evaluation"

    def prepare(self) -> None:
        """Check the path and the adapter. Raises: WireError."""
        request = command_of(self.job, Evaluate)
        model = loaded_model(self.engine.model)
        adapter = _adapter_path(model, request.adapter)
        data = self.engine.training_site.roots.readable(request.data, field="data")
        self.begin(model, adapter, data=str(data))

    def reply(self, result: dict[str, Any]) -> Struct:
        """Convert the program's result."""
        return as_reply(result, EvaluateResult, self.job.id)

    def finish(self, reply: Struct) -> Struct:
        """Return the reply: nothing is left to do."""
        return reply


def _adapter_path(model: ModelInfo, name: str | None) -> str | None:
    """Return the folder of the adapter to evaluate with. Raises: WireError ``invalid_params``."""
    if name is None:
        return model.adapter_path
    loaded = {each.name: each.path for each in model.adapters}
    check_adapter(name, loaded)
    if model.adapter_path is not None:
        raise invalid_params(
            "adapter",
            "the model was loaded with an `adapter_path`, and one adapter at a time can be "
            "evaluated; leave `adapter` out, or load the model without `adapter_path`",
        )
    return loaded[name]
