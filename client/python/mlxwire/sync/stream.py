"""Blocking iterators over the asyncio client's streams."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from ..errors import ShuttingDown
from ..results import BatchResult, Done, Token
from ..stream import Stream as AsyncStream
from ..stream import TokenStream as AsyncTokenStream
from .loop_thread import LoopThread

T = TypeVar("T")


class Stream(Generic[T]):
    """Iterate it; use it in a ``with``, so that leaving early cancels it and sees that through.

    Without one, leaving the ``for`` cancels it too, at once where references are counted.
    """

    def __init__(self, thread: LoopThread, stream: AsyncStream[T]) -> None:
        self._thread = thread
        self._stream = stream
        self._taken: deque[T] = deque()
        self._entered = False

    @property
    def id(self) -> str | None:
        """As `mlxwire.TokenStream.id`."""
        return self._stream.id

    @property
    def done(self) -> Done:
        """As `mlxwire.TokenStream.done`."""
        return self._stream.done

    def close(self) -> None:
        """Cancel what is left. Raises: DrainTimeout where the worker does not confirm."""
        self._taken.clear()
        with contextlib.suppress(ShuttingDown):
            self._thread.call(self._stream.aclose())

    def __iter__(self) -> Iterator[T]:
        return self if self._entered else self._one_pass()

    def _one_pass(self) -> Iterator[T]:
        """One ``for`` outside of any ``with``; the generator ends when that is left."""
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
        if not self._taken:
            # All that is there at once: a call into the other thread for each one is dear.
            try:
                self._taken.extend(self._thread.call(self._stream.take_available()))
            except BaseException:
                # Ctrl-C may come when the call is done already, and what it gave is lost.
                self._thread.post(self._stream.abandon)
                raise
            if not self._taken:
                raise StopIteration
        return self._taken.popleft()

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


class TokenStream(Stream[Token]):
    """A `Stream` of `Token`s."""

    def __init__(self, thread: LoopThread, stream: AsyncTokenStream) -> None:
        super().__init__(thread, stream)
        self._tokens = stream

    def text(self) -> str:
        """As `mlxwire.TokenStream.text`."""
        return self._thread.call(self._tokens.text())


class BatchStream(Stream[BatchResult]):
    """A `Stream` of `BatchResult`s, in the order in which the prompts end."""

    def results(self) -> list[BatchResult]:
        """As `mlxwire.BatchStream.results`."""
        results = [*self._taken, *self._thread.call(self._stream.take_all())]
        self._taken.clear()
        return sorted(results, key=lambda result: result.index)
