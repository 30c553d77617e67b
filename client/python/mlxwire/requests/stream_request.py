"""The connection's side of a stream: a buffer, and credit for more as its consumer takes.

The connection fills the buffer and never waits. A worker that knows `window` sends no further
than it was given credit, so a consumer that sleeps holds back its own stream and nothing else.
From an older worker all comes at once; a consumer that lets the buffer overflow then loses its
stream (lessons 24, 25).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from mlxwire_protocol.errors import quoted
from mlxwire_protocol.replies import Progress

from ..connection.route import Route, Sender
from ..errors import ProtocolViolation, SlowConsumer
from ..process.pipes import call_guarded
from ..results import Done, OnToken, Token, convert_reply
from .pending import PendingRequest

MESSAGE_OVERHEAD_BYTES = 160
"""What a buffered message costs besides its text."""

T = TypeVar("T")


class StreamRequest(PendingRequest, Generic[T]):
    """A request whose replies are taken one by one. ``taken`` is counted by whoever takes them;
    with ``due`` of them `grant` has to be called."""

    def __init__(
        self,
        route: Route,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_done: Callable[[Done], None],
    ) -> None:
        super().__init__(
            route,
            command,
            fields,
            timeout=route.limits.request_timeout if timeout is None else timeout,
            idle_timeout=route.limits.idle_timeout if idle_timeout is None else idle_timeout,
            on_progress=on_progress,
        )
        self.buffer: deque[T] = deque()
        self.done: Done | None = None
        self.taken = 0
        self.due = self._step = sys.maxsize
        self._granted = 0
        self._weigh_past = 0
        self._buffer_bytes = route.limits.buffer_bytes
        self._on_done = on_done

    def start(self, sender: Sender) -> None:
        """Send it, with a window of as many messages as may be on their way."""
        window = sender.window
        if window is not None:
            self.fields = {**self.fields, "window": window}
            # A credit for each half window: the worker never runs dry, 1 message in 512 is ours.
            self.due = self._step = window // 2
            self._weigh_past = window
        super().start(sender)

    def push(self, message: T) -> None:
        """Something to be taken has come."""
        if self.state != "running":
            return
        self.buffer.append(message)
        if len(self.buffer) > self._weigh_past:
            self._weigh()
        if self._waiters:
            self.wake()

    def grant(self) -> None:
        """Let as many messages come as were taken since the last time."""
        count, self._granted = self.taken - self._granted, self.taken
        self.due = self.taken + self._step
        if self.state == "running":
            assert self._sender is not None
            assert self.id is not None
            self._sender.send_credit(self.id, count)

    def cost(self, message: T) -> int:
        """The bytes, roughly, that a message takes in the buffer."""
        raise NotImplementedError

    def _weigh(self) -> None:
        """Hold the buffer to its limit: now, and again halfway to where it may be full.

        So nothing has to be counted for each message that comes or is taken.
        """
        count, weight = len(self.buffer), sum(map(self.cost, self.buffer))
        self._weigh_past = count + (self._buffer_bytes - weight) * count // (2 * weight)
        if weight > self._buffer_bytes:
            self.abandon(
                SlowConsumer(
                    f"{len(self.buffer)} messages waited to be taken, more than the "
                    f"{self._buffer_bytes} bytes that a stream may hold; the request was "
                    "cancelled. Take them faster, or give the worker more buffer_bytes"
                )
            )

    def _take_final(self, message: dict[str, Any]) -> None:
        if message.get("type") == "done":
            try:
                self.done = convert_reply(message, Done)
            except ProtocolViolation as error:
                self.error = self.error or error
        elif message.get("type") != "error":
            self.error = self.error or ProtocolViolation(
                f"`{self.command}` ended with {quoted(message.get('type'))} where `done` was due"
            )
        super()._take_final(message)
        if self.done is not None:
            self._on_done(self.done)

    def _progress(self) -> int | None:
        return None if self.buffer else self._heard + self.taken

    def _expire(self) -> None:
        self.buffer.clear()  # a deadline is kept, also with messages still to be taken
        super()._expire()


class TokenRequest(StreamRequest[Token]):
    """`generate` and `chat`: each token is to be taken."""

    _flush_seq = sys.maxsize

    @property
    def tokens_delivered(self) -> int:
        """Of the messages taken; text that was held back is no token of its own (SPEC §5)."""
        return self.taken - (self.taken > self._flush_seq)

    def take_token(self, token: Token) -> None:
        if token.flush:
            self._flush_seq = token.seq
        self.push(token)

    def cost(self, message: Token) -> int:
        likely = len(message.top_logprobs or ())
        return len(message.text) + MESSAGE_OVERHEAD_BYTES * (1 + likely)


class ItemRequest(StreamRequest[T]):
    """`classify` and `batch`: each item is to be taken; tokens go to a callback at once."""

    def __init__(
        self,
        route: Route,
        command: str,
        fields: Mapping[str, Any],
        *,
        convert: Callable[[Mapping[str, Any]], T],
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_done: Callable[[Done], None],
        on_token: OnToken | None = None,
    ) -> None:
        """``convert`` makes an item of its reply. Raises in it: ProtocolViolation."""
        super().__init__(
            route,
            command,
            fields,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=on_done,
        )
        self._convert = convert
        self._on_token = on_token
        self._tokens_told = 0

    @property
    def tokens_delivered(self) -> int:
        return self._tokens_told

    def take_item(self, message: dict[str, Any]) -> None:
        item = self._convert(message)
        if self._on_token is None:
            self._tokens_told += getattr(item, "tokens_generated", 0)
        self.push(item)

    def take_token(self, token: Token) -> None:
        if self.state != "running":
            return
        call_guarded(self._loop, self._on_token, token)
        self._tokens_told += not token.flush
        self.taken += 1
        if self.taken >= self.due:
            self.grant()

    def cost(self, message: T) -> int:
        parts = (getattr(message, name, None) for name in ("text", "token_ids", "logits"))
        return MESSAGE_OVERHEAD_BYTES + sum(32 * len(part) for part in parts if part)
