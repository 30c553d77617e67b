"""A worker in memory: the client's connection on one side, the test's own replies on the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import orjson

from mlxwire.connection.connection import Connection
from mlxwire.connection.handshake import greet
from mlxwire.model import Model
from mlxwire.process.shutdown import ShutdownLimits
from mlxwire.process.stderr_ring import StderrRing
from mlxwire.requests.route import ModelRoute, RequestLimits
from mlxwire_protocol.replies import LoadResult

HELLO = {
    "type": "result",
    "final": True,
    "protocol": 1,
    "worker": {"name": "memory", "version": "1", "pid": 1, "engine": "mock"},
    "limits": {"max_line_bytes": 16777216, "max_inflight": 64},
}
LOADED = LoadResult(
    id="load",
    model_type="memory",
    vocab_size=8,
    layers=1,
    hidden_size=8,
    context_len=128,
    quant_bits=0,
    quant_group=0,
    parameters=0,
    weight_bytes=0,
    path="memory",
    adapter_path=None,
    chat_template=True,
    parallel_slots=4,
    capabilities={},
)


class MemoryProcess:
    """Stands where `WorkerProcess` does: keeps what is written, exits at quit."""

    pid = 1

    def __init__(self, connection: Connection) -> None:
        self.requests: list[dict[str, Any]] = []
        self.returncode: int | None = None
        self._connection = connection
        self._arrived = asyncio.Event()
        self._exited = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def write(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        self.requests.append(orjson.loads(line))
        self._arrived.set()
        if self.requests[-1]["cmd"] == "quit":
            self.exit(0)

    def exit(self, returncode: int) -> None:
        self.returncode = returncode
        self._exited.set()
        asyncio.get_running_loop().call_soon(self._connection.process_exited, returncode)

    def close_stdin(self) -> None:
        pass

    def signal_group(self, number: signal.Signals) -> None:
        if self.alive:
            self.exit(-number)

    async def wait(self, _seconds: float) -> bool:
        await self._exited.wait()
        return True

    def release(self) -> None:
        pass

    async def request(self, command: str) -> dict[str, Any]:
        """The next request with that command; taken out."""
        while True:
            for request in self.requests:
                if request["cmd"] == command:
                    self.requests.remove(request)
                    return request
            self._arrived.clear()
            await self._arrived.wait()


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
        self.connection = Connection(
            asyncio.get_running_loop(),
            shutdown=ShutdownLimits(),
            limits=RequestLimits(
                buffer_bytes=buffer_bytes,
                drain=drain,
                request_timeout=request_timeout,
                idle_timeout=idle_timeout,
            ),
            stderr=StderrRing(),
            on_event=on_event,
        )
        self.process = MemoryProcess(self.connection)
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
        """Bytes on the worker's stdout."""
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
