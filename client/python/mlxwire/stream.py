"""Streams of replies: async iterator and context manager over one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from .errors import DrainTimeout, MlxwireError, NotInitialized
from .requests.failures import cancelled_here
from .requests.stream_request import BufferedRequest, StreamRequest
from .results import Done

T = TypeVar("T")


class ReplyStream(Generic[T]):
    """Async iterator over the replies of one request, for one consumer and one pass.

    A loop over it ends without an error only after a complete answer, or if you leave it. Anything
    else that ends the answer raises in the loop: see `RequestCancelled` and `WorkerCrashed`.

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

    def __init__(self, request: BufferedRequest[T]) -> None:
        self._request = request
        self._entered = False
        self._looped = False
        self._left = False
        self._exhausted = False
        self._cancels = 0
        self._count_cancels: Callable[[], int] = int
        self._loop = request.loop
        self._pop = request.buffer.popleft

    @property
    def id(self) -> str | None:
        """The id of the request, for `Worker.cancel`; None before it is sent."""
        return self._request.id

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
        """Cancel the rest of the stream, and return at once; a later read gets RequestCancelled."""
        request = self._request
        if request.over and not request.buffer:
            return
        self._left = True
        request.buffer.clear()
        request.abandon()

    async def take_available(self) -> list[T]:
        """Wait for a reply; return all that have arrived, none at the end. Raises: MlxwireError."""
        return self._take_buffered() if await self._more() else []

    async def take_all(self) -> list[T]:
        """Wait for the end, and return all replies that are left.

        Raises: the error that ended the stream, which has the replies before it as ``results``;
        RuntimeError if the stream was read to its end before.
        """
        self.begin_pass()
        everything: list[T] = []
        try:
            while replies := await self.take_available():
                everything += replies
        except MlxwireError as error:
            everything.sort(key=lambda reply: getattr(reply, "index", None) or 0)
            error.results = everything
            raise
        return everything

    def begin_pass(self) -> None:
        """Note that a loop begins. Raises: RuntimeError if an earlier one consumed the stream."""
        if self._exhausted or (self._looped and not self._entered):
            self._request.raise_failure()
            raise RuntimeError(
                "this stream was iterated before, and gives each reply once: keep the replies in a "
                "list, or send the request again. A loop inside `async with` may be left and taken "
                "up again, until the stream has ended"
            )
        self._looped = True

    def __aiter__(self) -> AsyncIterator[T]:
        self.begin_pass()
        self._watch_reader()
        return self if self._entered else _Pass(self)

    async def __anext__(self) -> T:
        if self._count_cancels() != self._cancels:
            await self._heed_cancel()
        try:
            message: T | None = self._pop()
        except IndexError:
            message = None
        # Outside of `except`, so that an error does not tell of the IndexError.
        if message is None:
            if not await self._more():
                raise StopAsyncIteration
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
        await self._heed_cancel()  # another task may read now
        try:
            while not request.buffer:
                if self._ended():
                    return False
                await request.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        return True

    def _ended(self) -> bool:
        """Return True after the last reply of a complete answer.

        Raises: the error that ended the stream, or RequestCancelled if its consumer has left it.
        """
        request = self._request
        if self._left:
            error = cancelled_here(request.command)
            error.tokens_delivered = request.tokens_delivered
            raise error
        request.raise_failure()
        self._exhausted = request.state == "ended"
        return self._exhausted

    def _take_buffered(self) -> list[T]:
        request = self._request
        messages = list(request.buffer)
        request.buffer.clear()
        request.taken += len(messages)
        if request.taken >= request.due:
            request.grant()
        return messages

    async def _heed_cancel(self) -> None:
        """Let a cancel of the running task take effect, although replies are there to be taken.

        Taking what has arrived never suspends the task, so asyncio would deliver the cancel only
        when the buffer is empty.
        """
        self._watch_reader()
        count = self._count_cancels()
        if count == self._cancels:
            return
        self._cancels = count
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.abandon()
            raise

    def _watch_reader(self) -> None:
        """Count the cancels of the task that reads, which a look at each reply would slow down."""
        task = asyncio.current_task(self._loop)
        self._count_cancels = int if task is None else task.cancelling

    async def _start(self) -> None:
        request = self._request
        if request.state != "ended":  # what has arrived may be taken anywhere
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


class AnswerStream(ReplyStream[T]):
    """The stream of a request that the worker ends with `done`."""

    def __init__(self, request: StreamRequest[T]) -> None:
        super().__init__(request)
        self._stream_request = request

    @property
    def done(self) -> Done:
        """The end of the stream.

        Raises: the error that ended it, or RuntimeError if it has not ended yet.
        """
        if self._stream_request.done is not None:
            return self._stream_request.done
        self._stream_request.raise_failure()
        if self._stream_request.state == "draining":
            raise RuntimeError(
                "the stream was left, and the worker has not confirmed that yet, so it has no `done`; "
                "wait for that by `aclose()`, in `mlxwire.sync` by `close()`"
            )
        raise RuntimeError(
            "the stream has not ended yet, so it has no `done`; read it to its end, or leave it"
        )
