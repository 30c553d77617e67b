"""Bind the sans-IO protocol core to a worker's process: bytes on one side, requests on the other.

Theory of operation. Everything runs on one event loop. Three kinds of callers enter: tasks of the
host (`send`, `close`, `abort`), the process through the loop (`stdout_received`, `pipe_lost`,
`process_exited`), and timers of the watchdog and of requests (`condemn`, `send_cancel`). Nothing
here waits in the middle of a line, so lines never interleave and are written at once.

Invariants. A request is in ``_pending`` from its sending to its final reply. ``idle`` is set
exactly while ``_pending`` is empty. ``failure`` is set once, by the first cause, and then nothing
can be sent. At most one task ends the process, however many callers ask for it.

The order of a death: the facts (`Death`) come first; ``judge`` tells the aftermath; the error is
composed and becomes ``failure``; ``on_failure`` is called; only then do the pending requests
fail. So a caller that sees its request fail and asks again finds a restart under way.

Hazards. The end of a pipe is most likely the first sign of an exit, whose error says more, so
`pipe_lost` waits a moment before it condemns the process (codex#26533). A close by the host is
no crash, however the exit looks: ``on_failure`` is not called for it.
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

from ..errors import MlxwireError
from ..process.callbacks import call_guarded
from ..process.owner import Owner
from ..process.postmortem import (
    Aftermath,
    Death,
    closed_by_host,
    closed_its_pipe,
    closed_meanwhile,
    exited,
    offended,
)
from ..process.process import WorkerProcess
from ..process.shutdown import ShutdownLimits, end_process
from ..process.stderr_ring import StderrRing
from ..requests.pending import PendingRequest
from ..requests.route import RequestLimits
from ..results import convert_event, error_from_wire

LOST_PIPE_GRACE = 0.3
"""Seconds between the end of a pipe and the exit that most likely caused it."""
TAIL_BYTES = 4096
"""Bytes of stderr that an error quotes."""

Judge = Callable[[Sequence[PendingRequest]], Aftermath]
"""Tells what follows a death, from the requests that the worker may have died of."""


def not_followed(_in_flight: Sequence[PendingRequest], /) -> Aftermath:
    """Judge the death of a worker without restarts."""
    return Aftermath.NOTHING


class Connection:
    """One worker process from its spawn to its end.

    Implements `ProcessListener` for its process, `Sender` and `Connector` for requests.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        shutdown: ShutdownLimits,
        limits: RequestLimits,
        stderr: StderrRing,
        on_event: Callable[[Event], object] | None,
        judge: Judge = not_followed,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.owner = Owner()
        self.process: WorkerProcess | None = None
        self.failure: MlxwireError | None = None
        """The reason why nothing can be sent any more; None while sending works."""
        self.interruption: MlxwireError | None = None
        """The error of requests that the end of the worker cuts; None until the host ends it."""
        self.on_failure: Callable[[MlxwireError], None] | None = None
        """Called with ``failure`` before pending requests fail; not for a close by the host."""
        self.idle = asyncio.Event()
        """Set while no request waits for its final reply."""
        self.idle.set()
        self.used_last = loop.time()
        """When the last request that counts as use ended, or else when this began."""
        self.chunks_read = 0
        """Grows with everything that the process writes to stdout."""
        self.has_windows = False
        """True if the worker has the capability ``window``; known after the handshake."""
        self.closed_by_host = False
        """True once the host has called `close`, unless the process had failed before."""
        self._shutdown = shutdown
        self._stderr = stderr
        self._on_event = on_event
        self._judge = judge
        self._wire = ClientConnection()
        self._pending: dict[str, PendingRequest] = {}
        self._ending: asyncio.Task[None] | None = None
        self._deaf = False  # True after a failure: later bytes of the process are ignored

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for their final reply."""
        return len(self._pending)

    @property
    def window(self) -> int | None:
        """The window of a stream, in messages; None if the worker has no windows."""
        return self.limits.window if self.has_windows else None

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on stdout before the handshake that are no messages."""
        return self._wire.stray_lines

    def check_loop(self) -> None:
        """Check the running loop.

        Raises: RuntimeError on any loop but this connection's, NotInitialized in a fork.
        """
        self.owner.check_loop(self.loop)

    async def connect(self, _request: PendingRequest, /) -> Connection:
        """Return this connection: a worker without restarts has no other."""
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

    def send_hello(
        self, *, version: str, require: Sequence[str], events: Sequence[str]
    ) -> PendingRequest:
        """Write the request `hello`, which must be the first one, and return it."""
        assert self.process is not None
        hello = PendingRequest(self, "hello", {})
        hello.id, line = self._wire.hello(
            name="mlxwire-python", version=version, require=list(require), events=list(events)
        )
        self._pending[hello.id] = hello
        self.process.write(line)
        return hello

    def send(self, request: PendingRequest) -> str:
        """Write a request and expect its replies; return its id. Raises: MlxwireError."""
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
        """Cancel a request in the worker, without waiting; its final reply follows."""
        self._send_unwatched("cancel", {"target": request_id})

    def send_credit(self, request_id: str, count: int) -> None:
        """Allow the worker ``count`` more messages of a request, without waiting."""
        self._send_unwatched("credit", {"target": request_id, "n": count})

    async def close(self) -> None:
        """Ask the worker to quit and wait for its exit. All callers share one ending."""
        if self.failure is None:
            self.closed_by_host = True
            self.interruption = self.interruption or closed_meanwhile()
        await asyncio.shield(self._start_ending(say_quit=True))

    async def abort(self) -> None:
        """End a process that can't be talked to, and wait for its exit."""
        await asyncio.shield(self._start_ending(say_quit=False))

    def stdout_received(self, chunk: bytes) -> None:
        """Parse bytes of stdout, and hand each reply to its request (hot path)."""
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
                    event = convert_event(received.message)
                    call_guarded(self.loop, self._on_event, event)
        except WireError as error:
            greeting = any(request.command == "hello" for request in self._pending.values())
            self.condemn(offended(error, greeting=greeting, stderr_tail=self.tail()))

    def tail(self) -> str:
        """Return the end of stderr, as much as an error quotes."""
        return self._stderr.text(TAIL_BYTES)

    def condemn(self, death: Death) -> None:
        """Fail all pending requests, and end a process that runs but can't be used."""
        self._fail(death)
        self._start_ending(say_quit=False)

    def pipe_lost(self, which: Literal["stdin", "stdout"]) -> None:
        """Wait a moment for the exit after a pipe has ended; then end the process."""
        self.loop.call_later(LOST_PIPE_GRACE, self._pipe_stays_closed, which)

    def process_exited(self, returncode: int | None) -> None:
        """Fail all pending requests with the cause of the exit."""
        if self.closed_by_host:
            self._fail(closed_by_host())
            return
        greeting, strays, tail = self._greeting, self.stray_lines, self.tail()
        self._fail(exited(returncode, greeting=greeting, strays=strays, stderr_tail=tail))

    @property
    def _greeting(self) -> bool:
        return self._wire.state == "greeting"

    async def _run_ending(self, say_quit: bool) -> None:
        process = self.process
        if process is None or not process.alive:
            return
        quit_request = self._say_quit if say_quit and self._wire.state == "ready" else None
        try:
            limits, left = self._shutdown, lambda: self.in_flight
            await end_process(process, limits, say_quit=quit_request, in_flight=left)
        finally:
            process.release()
            self._fail(closed_by_host())

    def _send_unwatched(self, command: str, fields: Mapping[str, Any]) -> None:
        if self.failure is None:
            PendingRequest(self, command, fields).start(self)

    def _say_quit(self) -> None:
        PendingRequest(self, "quit", {}).start(self)
        self.failure = closed_by_host()

    def _pipe_stays_closed(self, which: str) -> None:
        if self._ending is None:
            greeting, tail = self._greeting, self.tail()
            self.condemn(closed_its_pipe(which, greeting=greeting, stderr_tail=tail))

    def _start_ending(self, *, say_quit: bool) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = self.loop.create_task(self._run_ending(say_quit))
        return self._ending

    def _fail(self, cause: Death | MlxwireError) -> None:
        """Fail all pending requests; the first error stays the connection's ``failure``."""
        first = self.failure is None
        asked = [request for request in self._pending.values() if request.asks]
        if isinstance(cause, Death):
            aftermath = self._judge(asked) if first else Aftermath.NOTHING
            cause = cause.as_error(aftermath, len(asked))
        if first:
            self.failure = cause
            if self.on_failure is not None and not self.closed_by_host:
                self.on_failure(cause)
        self._deaf = True
        pending, self._pending = self._pending, {}
        self.idle.set()
        for request in pending.values():
            request.fail(copy.copy(self.interruption or cause))
