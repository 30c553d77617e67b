"""Blocking iterators over the asyncio client's streams."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ..errors import MlxwireError, ShuttingDown
from ..folders.discovery import BrokenModel, FoundModel
from ..item_stream import BatchStream as AsyncBatchStream
from ..item_stream import Indexed
from ..parsed_stream import ParsedBatch as AsyncParsedBatch
from ..parsed_stream import ParsedResult
from ..parsed_stream import ParsedStream as AsyncParsedStream
from ..process.postmortem import closed_by_host
from ..results import BatchResult, ClassifyResult, Done, Token, ToolCall, ToolError
from ..stream import AnswerStream as AsyncAnswerStream
from ..stream import ReplyStream as AsyncReplyStream
from ..texts.results import Embedding, ScoreResult, Vector
from ..texts.streams import vectors_of
from ..token_stream import TokenStream as AsyncTokenStream
from .base import LEFT_ALONE
from .loop_thread import LoopThread

T = TypeVar("T")
R = TypeVar("R")
I = TypeVar("I", bound=Indexed)  # noqa: E741


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


class AnswerStream(ReplyStream[T]):
    """Iterator over the replies of a request that the worker ends with `done`."""

    def __init__(self, thread: LoopThread, stream: AsyncAnswerStream[T]) -> None:
        super().__init__(thread, stream)
        self._answer = stream

    @property
    def done(self) -> Done:
        """The end of the stream.

        Raises: the error that ended it, or RuntimeError if it has not ended yet.
        """
        return self._answer.done


class TokenStream(AnswerStream[Token]):
    """The stream of `Model.generate` and `Model.chat`: an iterator over `Token`."""

    def __init__(self, thread: LoopThread, stream: AsyncTokenStream) -> None:
        super().__init__(thread, stream)
        self._tokens = stream

    def text(self) -> str:
        """Wait for the end, and return the plain text, as `mlxwire.TokenStream.text` does."""
        return self._whole(self._tokens.text)

    def thoughts(self) -> str:
        """Wait for the end, and return the thoughts, as `mlxwire.TokenStream.thoughts` does."""
        return self._whole(self._tokens.thoughts)

    def calls(self) -> list[ToolCall]:
        """Wait for the end, and return the tool calls, as `mlxwire.TokenStream.calls` does."""
        return self._whole(self._tokens.calls)

    def message(self) -> dict[str, Any]:
        """Wait for the end, and return the answer as a turn, as `mlxwire.TokenStream.message` does."""
        return self._whole(self._tokens.message)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The complete tool calls of an answer that has ended. Raises: as `done`."""
        return self._tokens.tool_calls

    @property
    def tool_error(self) -> ToolError | None:
        """The last tool call that did not become whole, or None. Raises: as `done`."""
        return self._tokens.tool_error

    def _whole(self, ask: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Return what a method gives that reads the stream to its end."""
        answer = self._run(ask)
        self._taken.clear()
        return answer


class ParsedStream(TokenStream, Generic[T]):
    """The stream of `Model.generate` and `Model.chat` with a ``response_model``."""

    def __init__(self, thread: LoopThread, stream: AsyncParsedStream[T]) -> None:
        super().__init__(thread, stream)
        self._typed = stream

    def parsed(self) -> T:
        """Wait for the end, and return the answer as a value of the type.

        Raises: as `mlxwire.ParsedStream.parsed`.
        """
        return self._run(self._typed.parsed)


class ItemStream(AnswerStream[I]):
    """The base of the streams with an item for each prompt, text or model."""

    def results(self) -> list[I]:
        """Wait for the end, and return all items in order."""
        taken = [*self._taken]
        self._taken.clear()
        try:
            rest = self._run(self._stream.take_all)
        except MlxwireError as error:
            error.results = sorted([*taken, *error.results], key=lambda item: item.index)
            raise
        return sorted([*taken, *rest], key=lambda item: item.index)


class BatchStream(ItemStream[BatchResult]):
    """The stream of `Model.batch`: an iterator over `BatchResult`, in order of their ends."""


class ParsedBatch(ItemStream[ParsedResult[T]]):
    """The stream of `Model.batch` with a ``response_model``: an iterator over `ParsedResult`."""


class ClassifyStream(ItemStream[ClassifyResult]):
    """The stream of `Model.classify`: an iterator over `ClassifyResult`, as they are computed."""


class ScoreStream(ItemStream[ScoreResult]):
    """The stream of `Model.score`: an iterator over `ScoreResult`, as they are computed."""


class EmbeddingStream(ItemStream[Embedding]):
    """The stream of `Model.embed`: an iterator over `Embedding`, as they are computed."""

    def vectors(self) -> list[Vector]:
        """Wait for the end, and return the vectors alone, as `mlxwire.EmbeddingStream.vectors` does."""
        return vectors_of(self.results())


class DiscoverStream(ItemStream[FoundModel | BrokenModel]):
    """The stream of `Worker.discover`: an iterator over `FoundModel` and `BrokenModel`."""


def wrap_tokens(thread: LoopThread, stream: AsyncTokenStream) -> TokenStream:
    """Return the blocking form of a stream of tokens."""
    if isinstance(stream, AsyncParsedStream):
        return ParsedStream(thread, stream)
    return TokenStream(thread, stream)


def wrap_batch(
    thread: LoopThread, stream: AsyncBatchStream | AsyncParsedBatch[Any]
) -> BatchStream | ParsedBatch[Any]:
    """Return the blocking form of a batch."""
    if isinstance(stream, AsyncParsedBatch):
        return ParsedBatch(thread, stream)
    return BatchStream(thread, stream)
