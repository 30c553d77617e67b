"""`adapter`: load or unload an adapter of the loaded model, and list its adapters."""

from __future__ import annotations

from msgspec import Struct

from mlxwire_protocol import invalid_params
from mlxwire_protocol.messages import Adapter
from mlxwire_protocol.results import AdapterResult

from .operation import BetweenSteps


class AdapterOperation(BetweenSteps):
    """An `adapter` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """Check that the action has what it needs, and nothing else. Raises: WireError."""
        request = self.job.command
        assert isinstance(request, Adapter)
        given = {"name": request.name, "path": request.path}
        needed = {"load": ("name", "path"), "unload": ("name",), "list": ()}[request.action]
        for field, value in given.items():
            if field in needed and value is None:
                raise invalid_params(field, f"`{request.action}` needs a `{field}`; add it")
            if field not in needed and value is not None:
                raise invalid_params(
                    field, f"`{request.action}` takes no `{field}`; leave it out"
                )

    def answer(self) -> Struct:
        """Do the action, and return the adapters that are loaded after it."""
        request, engine = self.job.command, self.engine
        assert isinstance(request, Adapter)
        if request.action == "load":
            assert request.name is not None
            assert request.path is not None
            engine.load_adapter(request.name, request.path)
        elif request.action == "unload":
            assert request.name is not None
            engine.unload_adapter(request.name)
        return AdapterResult(id=request.id, adapters=engine.adapters())
