"""A stream of replies: an async iterator and a context manager over one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from .errors import DrainTimeout
from .requests.stream_request import StreamRequest
from .results import Done, Token

T = TypeVar("T")


class Stream(Generic[T]):
    """Iterate it for what comes; the request is sent when it is entered, or at the first step.

    Leave it by ``async with``, or `contextlib.aclosing`: both cancel the request in the worker, in
    whatever way they are left, and wait for its word (the first not with an exception on its way).
    Without one, nobody waits, and the cancel is left to the collector: it comes when the iterator of an ``async for`` that was left is collected,
    and otherwise when the stream itself is. CPython does that at once, unless something still
    refers to it, such as a stream that was stepped by `anext` and kept; other Pythons do it some
    time, and until then the worker computes on. `aclose` cancels too, and so does a task that is
    cancelled while it waits.

    A stream is for one consumer and one pass; one that takes its time holds back this stream in
    the worker, and no other.
    """

    def __init__(self, request: StreamRequest[T]) -> None:
        self._request = request
        self._entered = False
        self._left = False
        self._pop = request.buffer.popleft

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
        self._request.raise_failure()
        raise RuntimeError("the stream has not ended yet: take what it gives, or leave it")

    async def aclose(self) -> None:
        """Cancel what is left, and wait for the worker to confirm, `drain_limit` at most.

        Raises: DrainTimeout where it did not.
        """
        request = self._request
        request.check_loop()
        self.abandon()
        while request.state == "draining" and not request.drain_expired:
            await request.wait()
        if isinstance(request.error, DrainTimeout):
            request.raise_failure()

    def abandon(self) -> None:
        """Cancel what is left and return at once; the rest is drained in the background."""
        self._left = True
        self._request.buffer.clear()
        self._request.abandon()

    async def take_available(self) -> list[T]:
        """All that is here, at least one; empty at the stream's end."""
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
        """All that is left, up to the end.

        Raises: what ended it; RequestCancelled, or ShuttingDown, where another call cut it off.
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
            self.abandon()  # the caller's own exception may not wait for the worker

    def leave(self) -> None:
        """`abandon` from wherever a garbage collector runs; nothing where it has ended."""
        if self._request.running:
            self._request.post(self.abandon)

    def __del__(self) -> None:
        request = self._request
        if request.running:
            request.post(request.abandon)

    async def _more(self) -> bool:
        """Wait until something is here; False at the end. Raises what ended the stream."""
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
        """Send it, once. A model that is replaced later still owes a stream its rest."""
        request = self._request
        request.check_loop()
        if request.state == "new":
            await request.open()


class _Pass(Generic[T]):
    """One ``async for`` over a stream outside of any ``async with``.

    Only the loop holds it, so it is gone when the loop is left: at once where references are
    counted, as in CPython; elsewhere with the next collection.
    """

    def __init__(self, stream: Stream[T]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._stream.__anext__()

    def __del__(self) -> None:
        self._stream.leave()


class TokenStream(Stream[Token]):
    """A `Stream` of `Token`s: ``async with model.chat(…) as stream``."""

    _text: str | None = None

    async def text(self) -> str:
        """All of its plain text at once; other channels, such as thinking, are left out.

        Asked again, it is the same text. Raises: RuntimeError where tokens were taken before,
        and as `take_all`.
        """
        if self._text is None:
            if self._request.taken:
                self._request.raise_failure()
                raise RuntimeError(
                    "tokens of this stream were taken before, and text() gives all of it: join "
                    "the tokens' text yourself, or call text() first"
                )
            tokens = await self.take_all()
            self._text = "".join([token.text for token in tokens if token.channel is None])
        return self._text
