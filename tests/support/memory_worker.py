"""A worker in memory: the client's connection on one side, the test's own replies on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from mlxwire.connection.connection import Connection
from mlxwire.connection.handshake import greet
from mlxwire.model import Model
from mlxwire.process.stderr_ring import StderrRing
from mlxwire.requests.route import ModelRoute, RequestLimits
from mlxwire_protocol.commands import COMMANDS

from .fake_process import HELLO, LOADED, FakeProcess
from .ladders import ladder_to


class MemoryWorker:
    """A connection that has shaken hands, its model, and the replies to give it."""

    def __init__(
        self,
        *,
        buffer_bytes: int = 1 << 20,
        drain: float = 5.0,
        request_timeout: float | None = None,
        idle_timeout: float | None = None,
        on_event: Any = None,
        capabilities: Mapping[str, Any] | None = None,
    ) -> None:
        self._capabilities = dict(capabilities or {})
        stderr = StderrRing()
        self.connection = Connection(
            asyncio.get_running_loop(),
            shutdown=ladder_to("quit"),
            limits=RequestLimits(
                buffer_bytes=buffer_bytes,
                drain=drain,
                request_timeout=request_timeout,
                idle_timeout=idle_timeout,
            ),
            stderr=stderr,
            on_event=on_event,
        )
        self.process = FakeProcess(self.connection, stderr)
        self.process.held = set(COMMANDS) - {"quit"}
        self.connection.process = self.process  # type: ignore[assignment]
        self.route = ModelRoute(self.connection, LOADED)
        self.model = Model(self.route, on_close=self._closed)

    async def greet(self) -> None:
        greeting = asyncio.create_task(
            greet(self.connection, version="1", require=[], events=[], seconds=5)
        )
        hello = await self.process.request("hello")
        self.reply(hello["id"], **HELLO, capabilities=self._capabilities)
        await greeting

    def send(self, data: bytes) -> None:
        """Write bytes to the worker's stdout."""
        self.connection.stdout_received(data)

    def reply(self, request_id: str | None, **fields: Any) -> None:
        self.send(orjson.dumps({"id": request_id, **fields}) + b"\n")

    def tokens(self, request_id: str, *texts: str, first: int = 0) -> None:
        for seq, text in enumerate(texts, first):
            self.reply(request_id, type="token", seq=seq, token=text, token_id=seq + 100)

    def done(self, request_id: str, reason: str = "stop", **fields: Any) -> None:
        self.reply(
            request_id,
            type="done",
            final=True,
            done=True,
            finish_reason=reason,
            tokens_generated=3,
            metrics={"generated_tokens": 3, "decode_tokens_per_second": 12.5},
            **fields,
        )

    def error(self, request_id: str | None, code: str, **data: Any) -> None:
        body = {"code": code, "message": "why", "retryable": False, "data": data}
        self.reply(request_id, type="error", final=True, error=body)

    async def _closed(self, route: ModelRoute) -> None:
        route.close("this model was closed; load it again")


async def with_worker(test: Callable[[MemoryWorker], Awaitable[None]], **options: Any) -> None:
    """Run a test with a worker that has shaken hands; for `virtual_time.run`."""
    worker = MemoryWorker(**options)
    await worker.greet()
    await test(worker)
    await worker.connection.close()
