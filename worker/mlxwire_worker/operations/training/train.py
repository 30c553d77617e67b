"""`train`: train an adapter, or all weights, of the loaded model in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, convert, structs

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.results import ModelInfo
from mlxwire_protocol.training.replies import TrainResult
from mlxwire_protocol.training.requests import Train

from ...process.data_roots import DataRoots, same_folder
from ...requests.job import Saved
from ...training.spec import TrainOptions, check_options
from .child_task import ChildTask, command_of, loaded_model, options_of
from .events import as_reply


class TrainOperation(ChildTask):
    """A `train` request."""

    __slots__ = ("_out",)

    task = "train"
    doing = "the training"
    _out: Path

    def prepare(self) -> None:
        """Check the paths, and options that exclude each other. Raises: WireError."""
        request = command_of(self.job, Train)
        model = loaded_model(self.engine.model)
        _check_model(model)
        check_options(convert(options_of(request), TrainOptions))
        site = self.engine.training_site
        data = site.roots.readable(request.data, field="data")
        validation = _validation(request, site.roots)
        self._out = site.roots.folder(request.out, field="out")
        if same_folder(self._out, model.path):
            raise invalid_params(
                "out", "`out` is the folder of the loaded model; give another folder"
            )
        if request.load_as is not None:
            site.loadable(str(self._out))
        self.begin(model, None, data=str(data), out=str(self._out), **validation)

    @property
    def out(self) -> Path | None:
        """Return the folder of the result and of its checkpoints."""
        return self._out

    def reply(self, result: dict[str, Any]) -> Struct:
        """Convert the program's result."""
        return as_reply(result, TrainResult, self.job.id)

    def finish(self, reply: Struct) -> Struct:
        """Load the adapter under the name that `load_as` gives it. Raises: WireError."""
        assert isinstance(reply, TrainResult)
        name = command_of(self.job, Train).load_as
        if name is None:
            return reply
        try:
            if loaded_model(self.engine.model).path != self.model.path:
                raise WireError("model_load_failed", "another model was loaded meanwhile")
            self.engine.load_adapter(name, reply.adapter)
        except WireError as error:
            raise WireError(
                error.code,
                f"the adapter is trained and lies in {reply.adapter!r}, but it can't be loaded as "
                f"`load_as` {name!r} ({error.message}); load it with the command `adapter`",
                data={**error.data, "field": "load_as", "adapter": reply.adapter},
            ) from None
        return structs.replace(reply, loaded_as=name)

    def end_cancelled(self, saved: Saved) -> None:
        """End a cancelled job with the checkpoint that was saved."""
        self.ledger.end_cancelled(self.job, saved)

    def end_expired(self, saved: Saved) -> None:
        """End a job whose deadline has passed, with the checkpoint that was saved."""
        self.ledger.end_expired(self.job, checkpoint=saved.checkpoint)


def _check_model(model: ModelInfo) -> None:
    if model.adapter_path is not None:
        raise WireError(
            "unsupported_capability",
            "the model was loaded with an `adapter_path`, and a training begins with the model "
            "alone; load it without `adapter_path`, or fuse the adapter into the model first",
            data={"missing": ["train"], "field": "adapter_path"},
        )


def _validation(request: Train, roots: DataRoots) -> dict[str, str]:
    """Return the resolved path of `validation`, if it is one. Raises: WireError."""
    if not isinstance(request.validation, str):
        return {}
    return {"validation": str(roots.readable(request.validation, field="validation"))}
