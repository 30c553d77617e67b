"""`load`: load a model in place of the current one."""

from __future__ import annotations

import time

from msgspec import Struct, structs

from mlxwire_protocol.messages import Load
from mlxwire_protocol.replies import Progress
from mlxwire_protocol.results import LoadResult

from ..engine import Cancelled, LoadOptions
from .operation import Alone, Beat


class LoadOperation(Alone):
    """A `load` request."""

    __slots__ = ()

    def run(self, beat: Beat) -> Struct:
        """Load the model, and send progress while it loads."""
        job, request = self.job, self.job.command
        assert isinstance(request, Load)

        compiled = -1.0

        def report(stage: str, done: float, total: float) -> None:
            nonlocal compiled
            if stage != "compile" or done != compiled:
                beat()  # while a kernel compiles, another thread repeats the report
            if stage == "compile":
                compiled = done
            if job.cancel_requested:
                raise Cancelled
            progress = Progress(id=job.id, stage=stage, done=done, total=total)
            self.ledger.send(job, progress)

        info = self.engine.load(load_options(request), report)
        seconds = time.perf_counter() - job.accepted_at
        return LoadResult(
            id=job.id,
            load_seconds=seconds,
            warnings=self.engine.warnings,
            **structs.asdict(info),
        )


def load_options(request: Load) -> LoadOptions:
    """Convert the options of a request to the engine's type."""
    options = structs.asdict(request)
    del options["id"]
    if request.rotates_if_possible:
        options["context_policy"] = "rotate_if_possible"
    return LoadOptions(**options)
