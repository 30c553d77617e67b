"""Bytes on one side, requests on the other: the sans-IO core bound to a worker's process.

Everything runs on one event loop and nothing here waits with a lock, so lines never interleave
and a request, a cancel or the quit is always written at once.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mlxwire_protocol import WireError
from mlxwire_protocol.client_connection import ClientConnection
from mlxwire_protocol.client_events import EventReceived, ReplyReceived, TokenReceived
from mlxwire_protocol.replies import Event
from mlxwire_protocol.results import HelloResult

from ..errors import (
    HandshakeFailed,
    MlxwireError,
    ProtocolViolation,
    WorkerCrashed,
    error_from_wire,
)
from ..process.pipes import call_guarded
from ..process.postmortem import (
    closed_by_host,
    closed_its_pipe,
    describe_strays,
    exited,
    offended,
)
from ..process.process import WorkerProcess
from ..process.shutdown import ShutdownLimits, end_process
from ..process.stderr_ring import StderrRing
from ..requests.pending import PendingRequest
from ..requests.request_limits import RequestLimits
from ..results import convert_event, convert_reply

LOST_PIPE_GRACE = 0.3
"""Seconds between a pipe's end and the exit that most likely caused it."""
TAIL_BYTES = 4096
"""How much of stderr goes into an error."""


class Connection:
    """One worker, from its spawn to its end; implements `ProcessListener`, `Sender` and `Route`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        shutdown: ShutdownLimits,
        limits: RequestLimits,
        stderr: StderrRing,
        on_event: Callable[[Event], object] | None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.process: WorkerProcess | None = None
        self.failure: MlxwireError | None = None
        """Why nothing can be asked any more."""
        self.on_failure: Callable[[MlxwireError], None] | None = None
        """Called with ``failure`` before anything that is pending fails; not for a `close`."""
        self.idle = asyncio.Event()
        """Set while no request's final is due."""
        self.idle.set()
        self.used_last = loop.time()
        """When the last request that was more than a look ended, or the connection began."""
        self.chunks_read = 0
        self._shutdown = shutdown
        self._stderr = stderr
        self._on_event = on_event
        self._wire = ClientConnection()
        self._pending: dict[str, PendingRequest] = {}
        self._ending: asyncio.Task[None] | None = None
        self._closed_by_host = False
        self._deaf = False
        self._has_windows = False

    @property
    def in_flight(self) -> int:
        """How many requests' finals are due."""
        return len(self._pending)

    def asked(self) -> list[PendingRequest]:
        """The requests that a worker may have died of."""
        return [each for each in self._pending.values() if each.asks]

    @property
    def window(self) -> int | None:
        """How many messages of a stream may be on their way; None where the worker can't."""
        return self.limits.window if self._has_windows else None

    @property
    def _greeting(self) -> bool:
        """Whether its answer to hello is still due."""
        return self._wire.state == "greeting"

    @property
    def stray_lines(self) -> list[bytes]:
        """What the worker wrote to stdout before the handshake that is no message."""
        return self._wire.stray_lines

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than the one that the worker began on."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self.loop:
            raise RuntimeError(
                "this worker was started on another event loop and can only be used there; "
                "start one worker for each loop, or use mlxwire.sync"
            )

    async def connect(self, _request: PendingRequest, /) -> Connection:
        """A worker's own requests all go here."""
        return self

    def spawn(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
    ) -> None:
        """Start the process. Raises: SpawnFailed."""
        self.process = WorkerProcess(
            self.loop, command, env=env, cwd=cwd, stderr=self._stderr, listener=self
        )

    async def greet(
        self, *, version: str, require: Sequence[str], events: Sequence[str], seconds: float
    ) -> HelloResult:
        """The handshake.

        Raises: HandshakeFailed, or what the worker refused it with.
        """
        assert self.process is not None
        hello = PendingRequest(self, "hello", {})
        hello.id, line = self._wire.hello(
            name="mlxwire-python", version=version, require=list(require), events=list(events)
        )
        self._pending[hello.id] = hello
        self.process.write(line)
        try:
            async with asyncio.timeout(seconds):
                while not hello.over:
                    await hello.wait()
        except TimeoutError:
            raise HandshakeFailed(
                f"the worker did not answer hello within {seconds:g} s{describe_strays(self.stray_lines)}. "
                "Check that the command is a worker, or give it a longer start_timeout"
            ) from None
        if hello.error is not None:
            raise hello.error
        assert hello.final is not None
        try:
            result = convert_reply(hello.final, HelloResult)
        except ProtocolViolation as error:
            raise HandshakeFailed(error.message) from None
        self._has_windows = bool(result.capabilities.get("window"))
        return result

    def send(self, request: PendingRequest) -> str:
        """Write a request and expect its replies; its id. Raises: why it can't be sent."""
        if self.failure is not None:
            raise copy.copy(self.failure)
        assert self.process is not None
        try:
            request_id, line = self._wire.request(request.command, dict(request.fields))
        except WireError as error:
            raise error_from_wire(error) from None
        self._pending[request_id] = request
        self.idle.clear()
        self.process.write(line)
        return request_id

    def send_cancel(self, request_id: str) -> None:
        """Cancel a request in the worker; its final follows. Waits for nothing."""
        self._tell("cancel", {"target": request_id})

    def send_credit(self, request_id: str, count: int) -> None:
        """Let that many more messages of a request come. Waits for nothing."""
        self._tell("credit", {"target": request_id, "n": count})

    async def close(self) -> None:
        """Ask the worker to quit and see it out. Any number of callers share one ending."""
        if self.failure is None:
            self._closed_by_host = True
        await asyncio.shield(self._start_ending(say_quit=True))

    async def abort(self) -> None:
        """End a worker that can't be talked to."""
        await asyncio.shield(self._start_ending(say_quit=False))

    def stdout_received(self, chunk: bytes) -> None:
        """The hot path: hand each reply to its request."""
        if self._deaf:
            return
        self.chunks_read += 1
        pending = self._pending
        try:
            for received in self._wire.receive(chunk):
                if type(received) is TokenReceived:
                    pending[received.request_id].take_token(received)
                elif isinstance(received, ReplyReceived):
                    request = pending[received.id]
                    if received.ended:
                        del pending[received.id]
                        if request.uses:
                            self.used_last = self.loop.time()
                        if not pending:
                            self.idle.set()
                    request.take_reply(received.message, received.ended)
                elif isinstance(received, EventReceived):
                    self._take_event(received.message)
        except WireError as error:
            self._violated(error)

    def tail(self) -> str:
        """The last that it wrote to stderr, as much as goes into an error."""
        return self._stderr.text(TAIL_BYTES)

    def condemn(self, error: MlxwireError) -> None:
        """It lives and is of no use: fail all that is pending, and end it."""
        self._fail(error)
        self._start_ending(say_quit=False)

    def pipe_lost(self, which: Literal["stdin", "stdout"]) -> None:
        """A pipe ended: its process has died, or has to (codex#26533)."""
        self.loop.call_later(LOST_PIPE_GRACE, self._pipe_stays_closed, which)

    def process_exited(self, returncode: int) -> None:
        """The end of everything that is pending, with the cause."""
        greeting, strays, tail = self._greeting, self.stray_lines, self.tail()
        death = exited(returncode, greeting=greeting, strays=strays, stderr_tail=tail)
        self._fail(closed_by_host() if self._closed_by_host else death)

    async def _run_ending(self, say_quit: bool) -> None:
        process = self.process
        if process is None or not process.alive:
            return
        quit_request = self._say_quit if say_quit and self._wire.state == "ready" else None
        try:
            await end_process(process, self._shutdown, say_quit=quit_request)
        finally:
            process.release()
            self._fail(closed_by_host())

    def _tell(self, command: str, fields: Mapping[str, Any]) -> None:
        """A request whose answer nobody waits for."""
        if self.failure is None:
            PendingRequest(self, command, fields).start(self)

    def _say_quit(self) -> None:
        PendingRequest(self, "quit", {}).start(self)
        self.failure = closed_by_host()

    def _pipe_stays_closed(self, which: str) -> None:
        """One that has exited meanwhile has failed with that, and nothing more befalls it."""
        if self._ending is None:
            error = closed_its_pipe(which, greeting=self._greeting, stderr_tail=self.tail())
            self.condemn(error)

    def _violated(self, error: WireError) -> None:
        greeting = any(request.command == "hello" for request in self._pending.values())
        self.condemn(offended(error, greeting=greeting, stderr_tail=self.tail()))

    def _start_ending(self, *, say_quit: bool) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = self.loop.create_task(self._run_ending(say_quit))
        return self._ending

    def _fail(self, error: MlxwireError) -> None:
        """End all that is pending; the first cause stays the connection's."""
        if self.failure is None:
            self.failure = error
            if isinstance(error, WorkerCrashed):
                error.in_flight = len(self.asked())
            if self.on_failure is not None and not self._closed_by_host:
                self.on_failure(error)
        self._deaf = True
        pending, self._pending = self._pending, {}
        self.idle.set()
        for request in pending.values():
            request.fail(copy.copy(error))

    def _take_event(self, message: dict[str, Any]) -> None:
        try:
            event = convert_event(message)
        except ProtocolViolation:
            return  # an event of a later version, in a shape that this one does not know
        call_guarded(self.loop, self._on_event, event)
