"""The interfaces through which a request is sent: connector, sender and limits.

A connector finds the connection when the request is sent. A worker without `restart` always has
the same one; with `restart` and in a pool it changes, and may have to be made first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlxwire_protocol.results import LoadResult

from ..errors import MlxwireError, ModelNotLoaded
from ..process.checks import check_count, check_seconds

if TYPE_CHECKING:
    from .pending import PendingRequest

DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024
LARGEST_WINDOW = 4096
"""Most messages of one stream on their way. Measured with bench/clients/python_client.py: a window of
1,024 costs a worker that sends all at once a tenth of its speed, one of 4,096 a twentieth."""
WINDOW_MESSAGE_BYTES = 256
"""Bytes of the buffer that are reserved for each message of the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The limits of each request: seconds (None: no limit) and bytes.

    ``request_timeout``: for the whole request. ``idle_timeout``: without a message while the
    consumer waits for one (0: no limit). ``drain``: for the worker to end a cancelled request.
    ``buffer_bytes``: for messages of a stream that the consumer has not taken.
    """

    request_timeout: float | None = None
    idle_timeout: float | None = None
    drain: float = 5.0
    buffer_bytes: int = DEFAULT_BUFFER_BYTES

    def __post_init__(self) -> None:
        """Check the limits. Raises: InvalidParams with the option's name in `Worker`."""
        check_seconds("request_timeout", self.request_timeout)
        check_seconds("idle_timeout", self.idle_timeout)
        check_seconds("drain_timeout", self.drain)
        check_count("buffer_bytes", self.buffer_bytes)

    @property
    def window(self) -> int:
        """The number of messages of a stream that may be on their way."""
        return min(LARGEST_WINDOW, max(1, self.buffer_bytes // WINDOW_MESSAGE_BYTES))


class Sender(Protocol):
    """The methods of a connection that a request uses."""

    @property
    def window(self) -> int | None: ...
    @property
    def failure(self) -> MlxwireError | None:
        """The reason why nothing can be sent any more; None while sending works."""
        ...

    @property
    def interruption(self) -> MlxwireError | None:
        """The error of requests that the end of the worker cuts; None until the host ends it."""
        ...

    def send(self, request: PendingRequest) -> str: ...
    def send_cancel(self, request_id: str) -> None: ...
    def send_credit(self, request_id: str, count: int) -> None: ...


class Connector(Protocol):
    """Finds the connection for a request; belongs to one event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def limits(self) -> RequestLimits: ...
    def check_loop(self) -> None: ...
    async def connect(self, request: PendingRequest, /) -> Sender:
        """Return a connection that can be sent on at once. Raises: MlxwireError, if none can."""
        ...


class ModelRoute:
    """The `Connector` to one loaded model, until that model is closed or replaced."""

    def __init__(self, connector: Connector, loaded: LoadResult | None = None) -> None:
        self.loaded = loaded
        """The result of the last `load` of this model; None before the first."""
        self._connector = connector
        self._gone: str | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the worker was started on."""
        return self._connector.loop

    @property
    def limits(self) -> RequestLimits:
        """The limits of requests to this model."""
        return self._connector.limits

    @property
    def open(self) -> bool:
        """True until the model is closed or replaced."""
        return self._gone is None

    def close(self, why: str) -> None:
        """Make every later request fail with ModelNotLoaded and the message ``why``."""
        self._gone = self._gone or why

    def check_loop(self) -> None:
        """Check the running loop. Raises: RuntimeError on any loop but the worker's."""
        self._connector.check_loop()

    async def connect(self, request: PendingRequest, /) -> Sender:
        """Find the model's connection. Raises: ModelNotLoaded, and as the connector."""
        if self._gone is not None:
            raise ModelNotLoaded(self._gone)
        return await self._connector.connect(request)
