"""Streams with one item for each prompt, text or model, which may also be awaited as a list."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Protocol, TypeVar

from .results import BatchResult
from .stream import AnswerStream


class Indexed(Protocol):
    """An item with its place among those asked for."""

    @property
    def index(self) -> int: ...


I = TypeVar("I", bound=Indexed)  # noqa: E741


class ItemStream(AnswerStream[I], Coroutine[Any, Any, list[I]]):
    """Async iterator over items as they come; awaited, it gives the list of all, in order.

    It is a coroutine too, so that `asyncio.create_task` takes it.
    """

    _collecting: Coroutine[Any, Any, list[I]] | None = None

    async def results(self) -> list[I]:
        """Wait for the end, and return all items in order, as ``await`` does.

        Raises: the error that ended the stream, which has the items before it as ``results``;
        RuntimeError if the stream was iterated before.
        """
        return sorted(await self.take_all(), key=lambda item: item.index)

    def __await__(self) -> Generator[Any, Any, list[I]]:
        return self.results().__await__()

    def send(self, value: Any, /) -> Any:
        """Step the coroutine, as a task does."""
        return self._coroutine.send(value)

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise an error in the coroutine, as a task does that is cancelled."""
        return self._coroutine.throw(kind, value, traceback)

    def close(self) -> None:
        """End the coroutine, and cancel what is left of the request."""
        if self._collecting is not None:
            self._collecting.close()
        self.abandon()

    @property
    def _coroutine(self) -> Coroutine[Any, Any, list[I]]:
        if self._collecting is None:
            self._collecting = self.results()
        return self._collecting


class BatchStream(ItemStream[BatchResult]):
    """The stream of `Model.batch`: an async iterator over `BatchResult`, in order of their ends.

    A prompt that fails has its own ``error`` and does not disturb the others. Leaving the stream
    early cancels all prompts that are left. Awaited, it gives the results in the order of the prompts.
    """
