"""Follow one request from its sending to its final reply: waiters, time limits, cancellation.

Theory of operation. Everything runs on the worker's loop: the caller's task waits in `wait`, and
the connection, which never waits, calls `take_token`, `take_reply` or `fail`.

The states and their moves are the table `TRANSITIONS`; any other move is a defect. For the
caller a request is over when it has ended or has an ``error``; for the connection, only with its
final reply. Between the two it is ``draining``: the caller has left, the cancel is on its way,
and replies are dropped until the final one, for at most ``limits.drain`` seconds.

Hazards, each a bug once: while `connect` waits for a restart, the caller may leave (then nothing
is sent) or its ``timeout`` may pass. A timer refers to its request, so every end stops both
timers. A garbage collector may run in any thread, and may only use `post`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mlxwire_protocol.client_events import TokenReceived
from mlxwire_protocol.replies import Progress

from ..errors import MlxwireError
from ..process.callbacks import call_guarded
from ..process.checks import check_callback, check_seconds
from ..results import convert_reply, error_from_reply
from .failures import cancelled_elsewhere, not_drained, silent, too_late
from .route import Connector, Sender

IDLE_LOOKS = 4
"""Looks for new messages within one `idle_timeout`, which may so last a quarter longer."""

TOLD = ("cancel", "credit", "quit")
"""Commands that steer the worker or other requests, and ask nothing of the model."""
LOOKS = ("info", "memory", "metrics")
"""Commands that only read figures, and do not count as use of the worker."""

State = Literal["new", "connecting", "running", "draining", "ended"]
Move = Literal["connect", "start", "abandon", "end"]

TRANSITIONS: dict[tuple[State, Move], State] = {
    ("new", "connect"): "connecting",
    ("new", "start"): "running",
    ("new", "abandon"): "ended",
    ("new", "end"): "ended",
    ("connecting", "start"): "running",
    ("connecting", "abandon"): "ended",
    ("connecting", "end"): "ended",
    ("running", "abandon"): "draining",
    ("running", "end"): "ended",
    ("draining", "end"): "ended",
}


class PendingRequest:
    """A request with replies to come. Once it is over, it has a ``final`` reply or an ``error``."""

    def __init__(
        self,
        connector: Connector,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_final: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Make a request, unsent; ``on_final`` hears its final reply. Raises: InvalidParams."""
        check_seconds("timeout", timeout)
        check_seconds("idle_timeout", idle_timeout)
        check_callback("on_progress", on_progress)
        self.command = command
        self.fields = fields
        self.id: str | None = None
        self.state: State = "new"
        self.final: dict[str, Any] | None = None
        self.error: MlxwireError | None = None
        self.drain_expired = False
        self._connector = connector
        self._drain = connector.limits.drain
        self._sender: Sender | None = None
        self.loop = connector.loop
        self._timeout = timeout
        self._idle_timeout = idle_timeout or None
        self._heard = 0
        self._on_progress = on_progress
        self._on_final = on_final
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def over(self) -> bool:
        """True when the caller has nothing left to wait for."""
        return self.state == "ended" or self.error is not None

    @property
    def running(self) -> bool:
        """True while a caller may still take replies."""
        return self.state in ("connecting", "running")

    @property
    def asks(self) -> bool:
        """True for a command whose work may crash the worker."""
        return self.command not in TOLD

    @property
    def uses(self) -> bool:
        """True for a command that counts as use of the worker."""
        return self.asks and self.command not in LOOKS

    @property
    def tokens_delivered(self) -> int:
        """The number of tokens that the caller took."""
        return 0

    async def open(self) -> None:
        """Find a connection and send the request, unless it is abandoned meanwhile.

        Raises: MlxwireError if there is no connection or the request can't be sent.
        """
        self._move("connect")
        deadline = None if self._timeout is None else self.loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                sender = await self._connector.connect(self)
            if self.state == "connecting":
                self.start(sender)
        except (MlxwireError, TimeoutError) as error:
            if not isinstance(error, MlxwireError):
                error = too_late(self.command, self._timeout)
            self.fail(error)
            self.raise_failure()
        except BaseException:
            self.abandon()
            raise
        if deadline is not None and self.state == "running":
            self._timer = self.loop.call_at(deadline, self._expire)

    def start(self, sender: Sender) -> None:
        """Send the request on a connection. Raises: MlxwireError if it can't be sent."""
        self.id = sender.send(self)
        self._sender = sender
        self._move("start")
        if self._idle_timeout is not None:
            self._look_for_messages(self._progress(), self.loop.time())

    def take_token(self, token: TokenReceived) -> None:
        """Handle a token. Streams override this; other requests ignore it."""

    def take_part(self, message: dict[str, Any]) -> None:
        """Handle an item, or a part of a tool call. Streams override this."""

    def take_reply(self, message: dict[str, Any], ended: bool) -> None:
        """Handle a reply other than a token; ``ended`` is True for the final reply."""
        self._heard += 1
        if ended:
            self._take_final(message)
        elif self.state != "running":
            return
        elif message.get("type") in ("item", "tool_call"):
            self.take_part(message)
        elif message.get("type") == "progress" and self._on_progress is not None:
            call_guarded(self.loop, self._hand_progress, message)

    def fail(self, error: MlxwireError) -> None:
        """End the request without a final reply, because its worker has died or was closed."""
        if self.state == "ended":
            return
        self._move("end")
        self._stop_timers()
        if self.error is None:
            self.error = error
        self.wake()

    def abandon(self, error: MlxwireError | None = None) -> None:
        """Cancel the request in the worker and drain its replies; return at once."""
        if self.state not in ("new", "connecting", "running"):
            return
        self._stop_timers()
        self.error = error
        self._move("abandon")
        if self._sender is not None:
            assert self.id is not None
            self._sender.send_cancel(self.id)
            self._timer = self.loop.call_later(self._drain, self._drain_expired)
        self.wake()

    def post(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the loop; safe in any thread, and so for a garbage collector."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the worker is gone
            self.loop.call_soon_threadsafe(callback)

    def check_loop(self) -> None:
        """Check the running loop. Raises: RuntimeError on any loop but the worker's."""
        self._connector.check_loop()

    async def wait(self) -> None:
        """Wait until something arrives or the request is over."""
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    async def result(self) -> dict[str, Any]:
        """Send the request and return its final reply; a cancelled task cancels the request.

        Raises: MlxwireError, the error that ended the request.
        """
        try:
            await self.open()
            while not self.over:
                await self.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        self.raise_failure()
        assert self.final is not None
        return self.final

    def raise_failure(self) -> None:
        """Raise the error that ended the request, if one did."""
        if self.error is not None:
            self.error.tokens_delivered = self.tokens_delivered
            raise self.error

    def wake(self) -> None:
        """Wake every task that is in `wait`."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _take_final(self, message: dict[str, Any]) -> None:
        self._stop_timers()
        wanted = self.state == "running" and self.error is None
        self._move("end")
        self.final = message
        if message.get("type") == "error" and self.error is None:
            self.error = error_from_reply(message)
        elif wanted and message.get("finish_reason") == "cancelled" and self._sender:
            self.error = cancelled_elsewhere(self.command, self._sender.interruption)
        if self._on_final is not None:
            self._on_final(message)
        self.wake()

    def _hand_progress(self, message: dict[str, Any]) -> object:
        assert self._on_progress is not None
        return self._on_progress(convert_reply(message, Progress))

    def _expire(self) -> None:
        self.abandon(too_late(self.command, self._timeout))

    def _progress(self) -> int | None:
        """Return a number that grows with each message; None while some wait to be taken."""
        return self._heard

    def _look_for_messages(self, before: int | None, since: float) -> None:
        """Look for new messages at intervals. ``since``: when the last one was seen."""
        assert self._idle_timeout is not None
        now, progress = self.loop.time(), self._progress()
        if progress is None or progress != before:
            since = now
        elif now - since >= self._idle_timeout:
            self.abandon(silent(self.command, self._idle_timeout))
            return
        self._idle_timer = self.loop.call_later(
            self._idle_timeout / IDLE_LOOKS, self._look_for_messages, progress, since
        )

    def _drain_expired(self) -> None:
        self._timer = None
        self.drain_expired = True
        if self.error is None:
            self.error = not_drained(self.command, self._drain)
        self.wake()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._idle_timer = None

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]


async def ask(
    connector: Connector, command: str, fields: Mapping[str, Any], timeout: float | None = None
) -> dict[str, Any]:
    """Send a request that has one result, and return the result. Raises: MlxwireError."""
    connector.check_loop()
    limit = connector.limits.request_timeout if timeout is None else timeout
    return await PendingRequest(connector, command, fields, timeout=limit).result()
