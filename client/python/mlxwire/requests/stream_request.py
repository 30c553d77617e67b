"""Buffer the replies of a stream until its consumer takes them, and grant credit for more.

Theory of operation. Two sides meet at the buffer, both on the worker's loop. The connection
pushes replies and never waits: one slow consumer may not hold up the pipe that all requests
share (docs/lessons.md 24, 25). The consumer (`ReplyStream`) pops them, counts them in ``taken``, and calls `grant` once
``taken`` reaches ``due``.

- A worker with the capability ``window`` sends at most a window of messages ahead of the credit
  it was granted. A consumer that sleeps holds back its own stream in the worker, and no other.
- An older worker sends everything at once. Then the buffer may pass ``buffer_bytes``, and the
  stream is cancelled with SlowConsumer.
- The hot path counts nothing for each message. Credit is granted for half a window at a time,
  and the buffer is weighed when it has grown halfway to where it could be full (`_weigh`).

Hazards. The worker ends a stream without waiting for credit, so credit may reach it after the
end; the worker ignores it. A deadline holds for buffered messages too: `_expire` drops them, or
a consumer would get tokens after its time-out.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, NotRequired, TypedDict, TypeVar, Unpack

from mlxwire_protocol.errors import quoted
from mlxwire_protocol.replies import Progress

from ..errors import ProtocolViolation, SlowConsumer
from ..process.callbacks import call_guarded
from ..results import Done, OnToken, Token, convert_reply
from .pending import PendingRequest
from .route import Connector, Sender

ITEM_LISTS = ("prompts", "messages", "texts")
"""Fields whose entries have an item each: the stage of the progress that this client reports."""
MESSAGE_OVERHEAD_BYTES = 160
"""Memory that a buffered message takes besides its text."""

T = TypeVar("T")


class StreamLimits(TypedDict):
    """The options of a `StreamRequest` that a subclass passes on."""

    timeout: NotRequired[float | None]
    idle_timeout: NotRequired[float | None]
    on_progress: NotRequired[Callable[[Progress], object] | None]
    on_done: Callable[[Done], None]


class BufferedRequest(PendingRequest, Generic[T]):
    """A request whose replies wait in ``buffer`` until they are taken one by one.

    The consumer counts ``taken``, and calls `grant` when it reaches ``due``.
    """

    def __init__(
        self,
        connector: Connector,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None,
        idle_timeout: float | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        super().__init__(
            connector,
            command,
            fields,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
        )
        self.buffer: deque[T] = deque()
        self.taken = 0
        self.due = sys.maxsize

    def grant(self) -> None:
        """Grant credit for what was taken; a request without a window has none to grant."""

    def _progress(self) -> int | None:
        return None if self.buffer else self._heard + self.taken

    def _expire(self) -> None:
        self.buffer.clear()  # no reply may be taken after the deadline
        super()._expire()


class StreamRequest(BufferedRequest[T]):
    """A request that ends with `done`, and whose replies the worker sends within a window."""

    def __init__(
        self,
        connector: Connector,
        command: str,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_done: Callable[[Done], None],
    ) -> None:
        limits = connector.limits
        super().__init__(
            connector,
            command,
            fields,
            timeout=limits.request_timeout if timeout is None else timeout,
            idle_timeout=limits.idle_timeout if idle_timeout is None else idle_timeout,
            on_progress=on_progress,
        )
        self.done: Done | None = None
        self._step = sys.maxsize
        self._granted = 0
        self._weigh_past = 0
        self._buffer_bytes = limits.buffer_bytes
        self._on_done = on_done

    def start(self, sender: Sender) -> None:
        """Send the request, with its window if the worker has that capability."""
        window = sender.window
        if window is not None:
            self.fields = {**self.fields, "window": window}
            # Credit is sent for half a window at a time: few messages, and the worker never
            # waits.
            self.due = self._step = window // 2
            self._weigh_past = window
        super().start(sender)

    def push(self, message: T) -> bool:
        """Put a message into the buffer and wake the consumer; return False after the end."""
        if self.state != "running":
            return False
        self.buffer.append(message)
        if len(self.buffer) > self._weigh_past:
            self._weigh()
        if self._waiters:
            self.wake()
        return True

    def grant(self) -> None:
        """Grant credit for as many messages as were taken since the last grant."""
        count, self._granted = self.taken - self._granted, self.taken
        self.due = self.taken + self._step
        if self.state == "running":
            assert self._sender is not None
            assert self.id is not None
            self._sender.send_credit(self.id, count)

    def cost(self, message: T) -> int:
        """Estimate how many bytes a message needs in the buffer."""
        raise NotImplementedError

    def _weigh(self) -> None:
        """Cancel the stream if its buffer is full; otherwise set the size for the next look.

        The next look is halfway to where the buffer could be full.
        """
        count, weight = len(self.buffer), sum(map(self.cost, self.buffer))
        self._weigh_past = count + (self._buffer_bytes - weight) * count // (2 * weight)
        if weight > self._buffer_bytes:
            self.abandon(
                SlowConsumer(
                    f"{len(self.buffer)} messages waited for the consumer and took more than "
                    f"the {self._buffer_bytes} bytes that a stream may hold, so the request was "
                    "cancelled. Take messages faster, or give the worker more buffer_bytes"
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
                f"the worker ended `{self.command}` with {quoted(message.get('type'))} in place "
                "of `done`. Client and worker may be of different versions"
            )
        super()._take_final(message)
        if self.done is not None:
            self._on_done(self.done)


class ItemRequest(StreamRequest[T]):
    """A request with an item for each prompt or text: the consumer takes these; a callback the tokens."""

    def __init__(
        self,
        connector: Connector,
        command: str,
        fields: Mapping[str, Any],
        *,
        convert: Callable[[Mapping[str, Any]], T],
        on_token: OnToken | None = None,
        **limits: Unpack[StreamLimits],
    ) -> None:
        """Make a request. ``convert`` makes an item of its reply, or raises ProtocolViolation."""
        super().__init__(connector, command, fields, **limits)
        self._convert = convert
        self._on_token = on_token
        self._tokens_told = 0
        self._items = 0

    @property
    def tokens_delivered(self) -> int:
        return self._tokens_told

    def take_part(self, message: dict[str, Any]) -> None:
        item = self._convert(message)
        if self._on_token is None:
            self._tokens_told += getattr(item, "tokens_generated", 0)
        self.push(item)
        self._items += 1
        if self._on_progress is not None:
            self._report()

    def take_token(self, token: Token) -> None:
        if self.state != "running":
            return
        call_guarded(self.loop, self._on_token, token)
        self._tokens_told += not token.flush
        self.taken += 1
        if self.taken >= self.due:
            self.grant()

    def cost(self, message: T) -> int:
        lists = ("text", "token_ids", "logits", "pieces", "logprobs", "vector")
        parts = (getattr(message, name, None) for name in lists)
        return MESSAGE_OVERHEAD_BYTES + sum(32 * len(part) for part in parts if part)

    def _report(self) -> None:
        """Tell the caller how many of the prompts or texts have their item."""
        stage = next((name for name in ITEM_LISTS if name in self.fields), None)
        if stage is not None:
            assert self.id is not None
            done, total = self._items, len(self.fields[stage])
            report = Progress(id=self.id, stage=stage, done=done, total=total)
            call_guarded(self.loop, self._on_progress, report)
