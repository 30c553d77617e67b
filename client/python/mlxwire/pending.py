"""One request from its line to its final: who waits for it, its deadline, its cancel.

Leaving a request never waits for the worker. It is cancelled there and drained: its further
replies are dropped until the final one comes, for which the worker has ``drain_limit`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mlxwire_protocol.client_connection import TokenReceived
from mlxwire_protocol.replies import Progress

from .errors import DrainTimeout, MlxwireError, RequestTimeout, error_from_reply
from .pipes import call_guarded
from .results import convert_reply

DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024
LARGEST_WINDOW = 4096
"""Messages of one stream on their way. By measurement (bench/client_python.py): 1,024 cost a tenth of
the speed of a worker that sends all at once, 4,096 a twentieth."""
WINDOW_MESSAGE_BYTES = 256
"""What a message of a window is taken to need of the buffer."""

State = Literal["new", "running", "draining", "ended"]

TRANSITIONS: dict[tuple[State, Literal["start", "abandon", "end"]], State] = {
    ("new", "start"): "running",
    ("new", "abandon"): "ended",
    ("new", "end"): "ended",
    ("running", "abandon"): "draining",
    ("running", "end"): "ended",
    ("draining", "end"): "ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What a request may take: seconds (None: no limit) and bytes.

    ``drain`` is how long a worker has to end a request that was cancelled.
    """

    request_timeout: float | None = None
    drain: float = 5.0
    buffer_bytes: int = DEFAULT_BUFFER_BYTES

    @property
    def window(self) -> int:
        """How many messages of a stream may be on their way."""
        return min(LARGEST_WINDOW, max(1, self.buffer_bytes // WINDOW_MESSAGE_BYTES))


class Sender(Protocol):
    """What a request needs of its connection."""

    loop: asyncio.AbstractEventLoop

    @property
    def drain_limit(self) -> float: ...
    def send(self, request: PendingRequest) -> str: ...
    def check_loop(self) -> None: ...
    def send_cancel(self, request_id: str) -> None: ...
    def send_credit(self, request_id: str, count: int) -> None: ...


class PendingRequest:
    """A request whose final may still be due. ``final`` or ``error`` is set when it is over.

    ``error`` may be set while the request is still drained: it is over for its caller then.
    """

    def __init__(
        self,
        sender: Sender,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
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
        self._sender = sender
        self._loop = sender.loop
        self._timeout = timeout
        self._on_progress = on_progress
        self._on_final = on_final
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def over(self) -> bool:
        """Whether its caller has nothing left to wait for."""
        return self.state == "ended" or self.error is not None

    def start(self) -> None:
        """Send it. Raises: MlxwireError where it can't be sent."""
        self.id = self._sender.send(self)
        self._move("start")
        if self._timeout is not None:
            self._set_timer(self._timeout, self._expire)

    def take_token(self, token: TokenReceived) -> None:
        """A token has come. Only streams have a use for it."""

    def take_item(self, message: dict[str, Any]) -> None:
        """An item has come. Only `classify` and `batch` have a use for it."""

    def take_reply(self, message: dict[str, Any], ended: bool) -> None:
        """Any other reply has come; with ``ended`` it is the final."""
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
        self._set_timer(None)
        if self.error is None:
            self.error = error
        self.wake()

    def abandon(self, error: MlxwireError | None = None) -> None:
        """Nobody wants the rest: cancel it in the worker and drain. Returns at once."""
        if self.state not in ("new", "running"):
            return
        self._set_timer(None)
        self.error = error
        self._move("abandon")
        if self.id is not None:
            self._sender.send_cancel(self.id)
            self._set_timer(self._sender.drain_limit, self._drain_expired)
        self.wake()

    def abandon_threadsafe(self) -> None:
        """`abandon` from wherever a garbage collector runs."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its worker gone
            self._loop.call_soon_threadsafe(self.abandon)

    def check_loop(self) -> None:
        """Raises: RuntimeError on any other loop than the worker's."""
        self._sender.check_loop()

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
            self.start()
            while not self.over:
                await self.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        if self.error is not None:
            raise self.error
        assert self.final is not None
        return self.final

    def wake(self) -> None:
        """Let whoever waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _take_final(self, message: dict[str, Any]) -> None:
        self._set_timer(None)
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
        self.abandon(
            RequestTimeout(
                f"`{self.command}` took longer than the {self._timeout:g} s it was given and "
                "was cancelled; give it more time or ask for less"
            )
        )

    def _drain_expired(self) -> None:
        self._timer = None
        self.drain_expired = True
        if self.error is None:
            self.error = DrainTimeout(
                f"the worker did not end the cancelled `{self.command}` within "
                f"{self._sender.drain_limit:g} s; it may hang, close it and start another"
            )
        self.wake()

    def _set_timer(
        self, seconds: float | None, callback: Callable[[], None] | None = None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and callback is not None:
            self._timer = self._loop.call_later(seconds, callback)

    def _move(self, event: Literal["start", "abandon", "end"]) -> None:
        self.state = TRANSITIONS[self.state, event]
