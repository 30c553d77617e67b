"""Blocking iterators over the asyncio client's streams."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ..errors import MlxwireError, ShuttingDown
from ..process.postmortem import closed_by_host
from ..results import BatchResult, Done, Token
from ..stream import ReplyStream as AsyncReplyStream
from ..stream import TokenStream as AsyncTokenStream
from .base import LEFT_ALONE
from .loop_thread import LoopThread

T = TypeVar("T")
R = TypeVar("R")


class ReplyStream(Generic[T]):
    """Iterator over the replies of one request.

    Use it in a ``with``: however the block is left, the request is cancelled in the worker, and
    a block that ends without an exception waits until the worker confirms. Without a ``with``,
    leaving the ``for`` cancels the request when its iterator is collected, in CPython at once.
    """

    def __init__(self, thread: LoopThread, stream: AsyncReplyStream[T]) -> None:
        self._thread = thread
        self._stream = stream
        self._taken: deque[T] = deque()
        self._entered = False

    @property
    def id(self) -> str | None:
        """The id of the request, for `Worker.cancel`; None before it is sent."""
        return self._stream.id

    @property
    def done(self) -> Done:
        """The end of the stream.

        Raises: the error that ended it, or RuntimeError if it has not ended yet.
        """
        return self._stream.done

    def close(self) -> None:
        """Cancel the rest of the stream. Raises: DrainTimeout, if that takes too long."""
        self._taken.clear()
        with contextlib.suppress(*LEFT_ALONE):
            self._thread.call(self._stream.aclose())

    def __iter__(self) -> Iterator[T]:
        self._stream.begin_pass()
        return self if self._entered else self._one_pass()

    def _one_pass(self) -> Iterator[T]:
        """Yield the replies of one ``for`` outside of any ``with``; cancel when that is left."""
        try:
            while True:
                try:
                    taken = next(self)
                except StopIteration:
                    return
                yield taken
        finally:
            self._taken.clear()
            self._thread.post(self._stream.abandon)

    def __next__(self) -> T:
        self._thread.owner.check()
        if not self._taken:
            # Take all replies that have arrived: a call into the other thread for each one is
            # slow.
            try:
                self._taken.extend(self._run(self._stream.take_available))
            except BaseException:
                # Ctrl-C may come after the call is done, and then its result is lost.
                self._thread.post(self._stream.abandon)
                raise
            if not self._taken:
                raise StopIteration
        return self._taken.popleft()

    def _run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine of the stream on the thread; or here, once the worker was closed.

        Then the stream has ended, so the coroutine waits for nothing.
        """
        try:
            return self._thread.call(call())
        except ShuttingDown:
            if self._thread.running or self._stream.id is None:
                raise
        try:
            call().send(None)
        except StopIteration as end:
            result: R = end.value
            return result
        raise closed_by_host()

    def __enter__(self) -> Self:
        self._entered = True
        self._thread.call(self._stream.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken.clear()
        if error is None:
            self.close()
        else:
            self._thread.post(self._stream.abandon)


class TokenStream(ReplyStream[Token]):
    """The stream of `Model.generate` and `Model.chat`: an iterator over `Token`."""

    def __init__(self, thread: LoopThread, stream: AsyncTokenStream) -> None:
        super().__init__(thread, stream)
        self._tokens = stream

    def text(self) -> str:
        """Wait for the end, and return the plain text, as `mlxwire.TokenStream.text` does."""
        return self._run(self._tokens.text)


class BatchStream(ReplyStream[BatchResult]):
    """The stream of `Model.batch`: an iterator over `BatchResult`, in order of their ends."""

    def results(self) -> list[BatchResult]:
        """Wait for the end, and return the results in the order of the prompts."""
        taken = [*self._taken]
        self._taken.clear()
        try:
            rest = self._run(self._stream.take_all)
        except MlxwireError as error:
            error.results = sorted([*taken, *error.results], key=lambda result: result.index)
            raise
        return sorted([*taken, *rest], key=lambda result: result.index)
