"""One request from its line to its final: who waits for it, its deadline, its cancel.

Leaving a request never waits for the worker. It is cancelled there and drained: its further
replies are dropped until the final one comes, for which the worker has ``drain_limit`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mlxwire_protocol.client_events import TokenReceived
from mlxwire_protocol.replies import Progress

from ..connection.route import Route, Sender
from ..errors import MlxwireError, error_from_reply
from ..process.pipes import call_guarded
from ..results import convert_reply
from .request_failures import cancelled_elsewhere, not_drained, silent, too_late

IDLE_LOOKS = 4
"""How often within `idle_timeout` it is looked whether anything came: it may last a quarter more."""

TOLD = ("cancel", "credit", "quit")
"""Commands that ask nothing of the model."""
LOOKS = ("info", "memory", "metrics")
"""Commands that only look how it does."""

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
    """A request whose final may still be due. ``final`` or ``error`` is set when it is over.

    ``error`` may be set while the request is still drained: it is over for its caller then.
    """

    def __init__(
        self,
        route: Route,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_final: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """``on_final`` hears of the final also when nobody waits for it any more."""
        self.command = command
        self.fields = fields
        self.id: str | None = None
        self.state: State = "new"
        self.final: dict[str, Any] | None = None
        self.error: MlxwireError | None = None
        self.drain_expired = False
        self._route = route
        self._sender: Sender | None = None
        self._loop = route.loop
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._heard = 0
        self._on_progress = on_progress
        self._on_final = on_final
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def over(self) -> bool:
        """Whether its caller has nothing left to wait for."""
        return self.state == "ended" or self.error is not None

    @property
    def running(self) -> bool:
        """Whether somebody may still wait for what the worker makes of it."""
        return self.state in ("connecting", "running")

    @property
    def asks(self) -> bool:
        """Whether a worker may die of it."""
        return self.command not in TOLD

    @property
    def uses(self) -> bool:
        """Whether the worker is in use for it."""
        return self.asks and self.command not in LOOKS

    @property
    def tokens_delivered(self) -> int:
        """How many tokens its caller was given."""
        return 0

    async def open(self) -> None:
        """Find its connection and send it, unless it is abandoned meanwhile.

        Raises: MlxwireError where there is no connection or it can't be sent; it is over then.
        """
        self._move("connect")
        deadline = None if self._timeout is None else self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                sender = await self._route.connect(self)
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
            self._timer = self._loop.call_at(deadline, self._expire)

    def start(self, sender: Sender) -> None:
        """Send it on a connection. Raises: MlxwireError where it can't be sent."""
        self.id = sender.send(self)
        self._sender = sender
        self._move("start")
        if self._idle_timeout is not None:
            self._look_for_messages(self._progress(), self._loop.time())

    def take_token(self, token: TokenReceived) -> None:
        """A token has come. Only streams have a use for it."""

    def take_item(self, message: dict[str, Any]) -> None:
        """An item has come. Only `classify` and `batch` have a use for it."""

    def take_reply(self, message: dict[str, Any], ended: bool) -> None:
        """Any other reply has come; with ``ended`` it is the final."""
        self._heard += 1
        if ended:
            self._take_final(message)
        elif self.state != "running":
            return
        elif message.get("type") == "item":
            self.take_item(message)
        elif message.get("type") == "progress" and self._on_progress is not None:
            call_guarded(self._loop, self._hand_progress, message)

    def fail(self, error: MlxwireError) -> None:
        """It ends without a final, as when the worker has died."""
        if self.state == "ended":
            return
        self._move("end")
        self._stop_timers()
        if self.error is None:
            self.error = error
        self.wake()

    def abandon(self, error: MlxwireError | None = None) -> None:
        """Nobody wants the rest: cancel it in the worker and drain. Returns at once."""
        if self.state not in ("new", "connecting", "running"):
            return
        self._stop_timers()
        self.error = error
        self._move("abandon")
        if self._sender is not None:
            assert self.id is not None
            self._sender.send_cancel(self.id)
            self._timer = self._loop.call_later(self._route.limits.drain, self._drain_expired)
        self.wake()

    def post(self, callback: Callable[[], None]) -> None:
        """Call on the loop, from wherever a garbage collector runs."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its worker gone
            self._loop.call_soon_threadsafe(callback)

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than the worker's."""
        self._route.check_loop()

    async def wait(self) -> None:
        """Wait for the next change: something came, or it is over."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    async def result(self) -> dict[str, Any]:
        """Send it and wait for its final; cancelled with the task that waits.

        Raises: the error that ended it.
        """
        try:
            await self.open()
            while not self.over:
                await self.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        self.raise_unless_whole()
        assert self.final is not None
        return self.final

    def raise_failure(self) -> None:
        """Raises: the error that ended it, if one did."""
        if self.error is not None:
            self.error.tokens_delivered = self.tokens_delivered
            raise self.error

    def raise_unless_whole(self) -> None:
        """Raises: as `raise_failure`, and where another call cancelled it (SPEC §4.6)."""
        final = self.final or {}
        if (final.get("type"), final.get("finish_reason")) == ("done", "cancelled"):
            closing = self._sender.failure if self._sender is not None else None
            self.error = self.error or cancelled_elsewhere(self.command, closing)
        self.raise_failure()

    def wake(self) -> None:
        """Let whoever waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _take_final(self, message: dict[str, Any]) -> None:
        self._stop_timers()
        self._move("end")
        self.final = message
        if message.get("type") == "error" and self.error is None:
            self.error = error_from_reply(message)
        if self._on_final is not None:
            self._on_final(message)
        self.wake()

    def _hand_progress(self, message: dict[str, Any]) -> None:
        assert self._on_progress is not None
        self._on_progress(convert_reply(message, Progress))

    def _expire(self) -> None:
        self.abandon(too_late(self.command, self._timeout))

    def _progress(self) -> int | None:
        """Something that changes with each message; None while its consumer has some to take."""
        return self._heard

    def _look_for_messages(self, before: int | None, since: float) -> None:
        """Look again and again whether something came; ``since`` is when something last had."""
        assert self._idle_timeout is not None
        now, progress = self._loop.time(), self._progress()
        if progress is None or progress != before:
            since = now
        elif now - since >= self._idle_timeout:
            self.abandon(silent(self.command, self._idle_timeout))
            return
        self._idle_timer = self._loop.call_later(
            self._idle_timeout / IDLE_LOOKS, self._look_for_messages, progress, since
        )

    def _drain_expired(self) -> None:
        self._timer = None
        self.drain_expired = True
        if self.error is None:
            self.error = not_drained(self.command, self._route.limits.drain)
        self.wake()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._idle_timer = None

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]


async def ask(
    route: Route, command: str, fields: Mapping[str, Any], timeout: float | None = None
) -> dict[str, Any]:
    """One request that is answered by one result. Raises: what it failed with."""
    route.check_loop()
    limit = route.limits.request_timeout if timeout is None else timeout
    return await PendingRequest(route, command, fields, timeout=limit).result()
