"""A stream of tokens: an async iterator and a context manager over one request.

Each stream has its own byte-bounded buffer, filled by the connection, which never waits. A
consumer that lets it overflow loses its stream, and nobody else's stalls (LESSONS 24, 25).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from mlxwire_protocol.replies import Progress

from .errors import DrainTimeout, MlxwireError, ProtocolViolation, SlowConsumer
from .pending import DEFAULT_BUFFER_BYTES, PendingRequest, Sender
from .results import Done, Token, convert_reply

TOKEN_OVERHEAD_BYTES = 160
"""What a buffered token costs besides its text."""


class StreamRequest(PendingRequest):
    """The connection's side of a stream: the buffer."""

    def __init__(
        self,
        sender: Sender,
        command: str,
        fields: Mapping[str, Any],
        *,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_done: Callable[[Done], None] | None = None,
    ) -> None:
        super().__init__(sender, command, fields, timeout=timeout, on_progress=on_progress)
        self.tokens: deque[Token] = deque()
        self.buffered = 0
        self.done: Done | None = None
        self._buffer_bytes = buffer_bytes
        self._on_done = on_done

    def take_token(self, token: Token) -> None:
        if self.state != "running":
            return
        self.tokens.append(token)
        self.buffered += len(token.text) + TOKEN_OVERHEAD_BYTES
        if self.buffered > self._buffer_bytes:
            self.abandon(
                SlowConsumer(
                    f"{len(self.tokens)} tokens waited to be taken, more than the "
                    f"{self._buffer_bytes} bytes that a stream may hold; the request was "
                    "cancelled. Take tokens faster, or give the worker more buffer_bytes"
                )
            )
        if self._waiters:
            self.wake()

    def drop_tokens(self) -> None:
        """Nobody will take what is buffered."""
        self.tokens.clear()
        self.buffered = 0

    def _take_final(self, message: dict[str, Any]) -> None:
        if message.get("type") == "done":
            try:
                self.done = convert_reply(message, Done)
            except ProtocolViolation as error:
                self.error = self.error or error
        elif message.get("type") != "error":
            self.error = self.error or ProtocolViolation(
                f"`{self.command}` ended with `{message.get('type')}` where `done` was due"
            )
        super()._take_final(message)
        if self.done is not None and self._on_done is not None:
            self._on_done(self.done)

    def _expire(self) -> None:
        self.drop_tokens()  # a deadline is kept, also with tokens still to be taken
        super()._expire()


class TokenStream:
    """Iterate it for its `Token`s; sent when entered, or at the first step.

    Best used as ``async with model.chat(…) as stream``: leaving early cancels the request in
    the worker, in whatever way it is left. Without ``async with``, `aclose` does, the loss of
    the last reference does, and so does a task cancelled while it waits for a token.
    A stream is for one consumer and one pass.
    """

    def __init__(self, request: StreamRequest, check: Callable[[], None]) -> None:
        self._request = request
        self._check = check
        self._left = False
        self._pop = request.tokens.popleft

    @property
    def id(self) -> str | None:
        """The request's id, for `Worker.cancel`; None before it is sent."""
        return self._request.id

    @property
    def done(self) -> Done:
        """How it ended.

        Raises: the error that ended it, or RuntimeError while it has not ended.
        """
        if self._request.done is not None:
            return self._request.done
        if self._request.error is not None:
            raise self._request.error
        raise RuntimeError("the stream has not ended yet: take its tokens, or leave it")

    async def text(self) -> str:
        """All of its plain text at once; other channels, such as thinking, are left out."""
        async with self:
            return "".join([token.text async for token in self if token.channel is None])

    async def aclose(self) -> None:
        """Cancel what is left, and wait for the worker to confirm, `drain_limit` at most.

        Raises: DrainTimeout where it did not.
        """
        self._check()
        request = self._request
        self.abandon()
        while request.state == "draining" and not request.drain_expired:
            await request.wait()
        if request.drain_expired and isinstance(request.error, DrainTimeout):
            raise request.error

    def abandon(self) -> None:
        """Cancel what is left and return at once; the rest is drained in the background."""
        self._left = True
        self._request.drop_tokens()
        self._request.abandon()

    async def take_available(self) -> list[Token]:
        """All the tokens that are here, at least one; empty at the stream's end."""
        if not self._request.tokens and not await self._more():
            return []
        tokens = list(self._request.tokens)
        self._request.drop_tokens()
        return tokens

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Token:
        try:
            token = self._pop()
        except IndexError:
            if not await self._more():
                raise StopAsyncIteration from None
            token = self._pop()
        self._request.buffered -= len(token.text) + TOKEN_OVERHEAD_BYTES
        return token

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self.abandon()  # the caller's own exception may not wait for the worker

    def __del__(self) -> None:
        request = getattr(self, "_request", None)
        if request is not None and request.state == "running":
            request.abandon_threadsafe()

    async def _more(self) -> bool:
        """Wait until a token is here; False at the end. Raises what ended the stream."""
        request = self._request
        self._start()
        try:
            while not request.tokens:
                if self._left:
                    return False
                if request.error is not None:
                    raise request.error
                if request.state == "ended":
                    return False
                await request.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        return True

    def _start(self) -> None:
        self._check()
        if self._request.state == "new" and not self._left:
            try:
                self._request.start()
            except MlxwireError as error:
                self._request.fail(error)
                raise
