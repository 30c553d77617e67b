"""Where a request goes: a route finds the connection that it is sent on, at the last moment.

A worker's model always goes the same way. Behind a supervisor or a pool the connection is
another one after a restart, and may have to be made first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from mlxwire_protocol.results import LoadResult

from ..errors import MlxwireError, ModelNotLoaded
from ..requests.request_limits import RequestLimits

if TYPE_CHECKING:
    from ..requests.pending import PendingRequest


class Sender(Protocol):
    """What a request needs of its connection once it has one."""

    @property
    def window(self) -> int | None: ...
    @property
    def failure(self) -> MlxwireError | None:
        """Why nothing can be sent any more."""
        ...

    def send(self, request: PendingRequest) -> str: ...
    def send_cancel(self, request_id: str) -> None: ...
    def send_credit(self, request_id: str, count: int) -> None: ...


class Route(Protocol):
    """Finds the connection for a request; belongs to one event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def limits(self) -> RequestLimits: ...
    def check_loop(self) -> None: ...
    async def connect(self, request: PendingRequest, /) -> Sender:
        """A connection that can be sent on at once. Raises: why there is none."""
        ...


class ModelRoute:
    """The way to one loaded model, until that is closed or replaced."""

    def __init__(self, way: Route, loaded: LoadResult | None = None) -> None:
        self.loaded = loaded
        """What the last `load` said of it; None before the first."""
        self._way = way
        self._gone: str | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that its worker was started on."""
        return self._way.loop

    @property
    def limits(self) -> RequestLimits:
        """What its requests may take."""
        return self._way.limits

    @property
    def open(self) -> bool:
        """Whether it still leads to the model."""
        return self._gone is None

    def close(self, why: str) -> None:
        """From now on every request on it is an error that says ``why``."""
        self._gone = self._gone or why

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than the worker's."""
        self._way.check_loop()

    async def connect(self, request: PendingRequest, /) -> Sender:
        """Raises: ModelNotLoaded where the model is gone, and why the way is closed."""
        if self._gone is not None:
            raise ModelNotLoaded(self._gone)
        return await self._way.connect(request)
