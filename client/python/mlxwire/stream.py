"""Streams of replies: async iterator and context manager over one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from .errors import DrainTimeout, NotInitialized
from .requests.stream_request import StreamRequest
from .results import BatchResult, Done, Token

T = TypeVar("T")


class ReplyStream(Generic[T]):
    """Async iterator over the replies of one request, for one consumer and one pass.

    The request is sent on ``__aenter__``, or else on the first ``__anext__``. A consumer that is
    slow holds back this stream in the worker, and no other.

    Leave a stream with ``async with`` or `contextlib.aclosing`: whichever way the block is left,
    both cancel the request in the worker, and wait until the worker confirms (``async with``
    does not wait if an exception is on its way). `aclose` does the same, and a task that is
    cancelled while it waits for the stream cancels the request too.

    An ``async for`` without such a block can't see that it was left. Then the request is
    cancelled when the loop's iterator is garbage-collected: in CPython at once, elsewhere some
    time later. A stream that was stepped with `anext` and is still referred to is not cancelled,
    and the worker computes on.
    """

    def __init__(self, request: StreamRequest[T]) -> None:
        self._request = request
        self._entered = False
        self._left = False
        self._pop = request.buffer.popleft

    @property
    def id(self) -> str | None:
        """The id of the request, for `Worker.cancel`; None before it is sent."""
        return self._request.id

    @property
    def done(self) -> Done:
        """The end of the stream.

        Raises: the error that ended it, or RuntimeError if it has not ended yet.
        """
        if self._request.done is not None:
            return self._request.done
        self._request.raise_failure()
        raise RuntimeError(
            "the stream has not ended yet, so it has no `done`; read it to its end, or leave it"
        )

    async def aclose(self) -> None:
        """Cancel the rest of the stream, and wait until the worker confirms.

        Raises: DrainTimeout if the worker does not confirm within ``drain_timeout``.
        """
        request = self._request
        try:
            request.check_loop()
        except NotInitialized:
            return  # a fork of the host: the stream is the host's
        self.abandon()
        while request.state == "draining" and not request.drain_expired:
            await request.wait()
        if isinstance(request.error, DrainTimeout):
            request.raise_failure()

    def abandon(self) -> None:
        """Cancel the rest of the stream, and return at once."""
        self._left = True
        self._request.buffer.clear()
        self._request.abandon()

    async def take_available(self) -> list[T]:
        """Wait for at least one reply, and return all that have arrived; empty at the end."""
        request = self._request
        if not await self._more():
            return []
        messages = list(request.buffer)
        request.buffer.clear()
        request.taken += len(messages)
        if request.taken >= request.due:
            request.grant()
        return messages

    async def take_all(self) -> list[T]:
        """Wait for the end, and return all replies that are left.

        Raises: the error that ended the stream; RequestCancelled or ShuttingDown if another call
        cut it off.
        """
        everything = [message async for message in self]
        if not self._left:
            self._request.raise_unless_whole()
        return everything

    def __aiter__(self) -> AsyncIterator[T]:
        return self if self._entered else _Pass(self)

    async def __anext__(self) -> T:
        try:
            message = self._pop()
        except IndexError:
            if not await self._more():
                raise StopAsyncIteration from None
            message = self._pop()
        request = self._request
        request.taken += 1
        if request.taken >= request.due:
            request.grant()
        return message

    async def __aenter__(self) -> Self:
        self._entered = True
        await self._start()
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
            self.abandon()  # the caller's own exception must not wait for the worker

    def __del__(self) -> None:
        request = self._request
        if request.running:
            request.post(request.abandon)

    async def _more(self) -> bool:
        """Wait for a reply; return False at the end. Raises: the error that ended the stream."""
        request = self._request
        await self._start()
        try:
            while not request.buffer:
                if self._left:
                    return False
                request.raise_failure()
                if request.state == "ended":
                    return False
                await request.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        return True

    async def _start(self) -> None:
        request = self._request
        request.check_loop()
        if request.state == "new":
            await request.open()


class _Pass(Generic[T]):
    """The iterator of one ``async for`` outside of any ``async with``.

    Only the loop refers to it, so it is collected when the loop is left: in CPython at once,
    elsewhere some time later.
    """

    def __init__(self, stream: ReplyStream[T]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._stream.__anext__()

    def __del__(self) -> None:
        stream = self._stream
        if stream._request.running:
            stream._request.post(stream.abandon)


class TokenStream(ReplyStream[Token]):
    """The stream of `Model.generate` and `Model.chat`: an async iterator over `Token`."""

    _text: str | None = None

    async def text(self) -> str:
        """Wait for the end, and return the plain text, without other channels such as thinking.

        A second call returns the same text. Raises: as `take_all`, and RuntimeError if tokens
        were taken before.
        """
        if self._text is None:
            if self._request.taken:
                self._request.raise_failure()
                raise RuntimeError(
                    "tokens of this stream were taken before, and text() returns the whole text: "
                    "join the tokens' text yourself, or call text() first"
                )
            tokens = await self.take_all()
            self._text = "".join([token.text for token in tokens if token.channel is None])
        return self._text


class BatchStream(ReplyStream[BatchResult]):
    """The stream of `Model.batch`: an async iterator over `BatchResult`, in order of their ends.

    A prompt that fails has its own ``error`` and does not disturb the others. Leaving the stream
    early cancels all prompts that are left.
    """

    async def results(self) -> list[BatchResult]:
        """Wait for the end, and return the results in the order of the prompts.

        Raises: as `take_all`.
        """
        return sorted(await self.take_all(), key=lambda result: result.index)
