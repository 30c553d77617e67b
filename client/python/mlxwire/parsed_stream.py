"""Streams of typed answers: those of requests with a ``response_model``."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

import msgspec

from .item_stream import ItemStream
from .requests.token_request import TokenRequest
from .results import BatchResult
from .token_stream import TokenStream
from .typed.answer_type import AnswerType

T = TypeVar("T")


class ParsedStream(TokenStream, Generic[T]):
    """The stream of `Model.generate` and `Model.chat` with a ``response_model``."""

    def __init__(self, request: TokenRequest, answer_type: AnswerType[T]) -> None:
        super().__init__(request)
        self._answer_type = answer_type

    async def parsed(self) -> T:
        """Wait for the end, and return the answer as a value of the type.

        A second call parses the same text. Raises: InvalidAnswer if the answer was cut off, or is
        no value of the type, and the errors that end a stream.
        """
        text = await self.text()
        done = self.done
        return self._answer_type.parse(
            text, complete=done.complete, finish_reason=done.finish_reason
        )


class ParsedResult(BatchResult, Generic[T], kw_only=True, frozen=True):
    """The result of one prompt of a batch with a ``response_model``."""

    _answer_type: Any

    def parsed(self) -> T:
        """Return the answer as a value of the type.

        Raises: InvalidAnswer if the answer was cut off, or is no value of the type; ``error`` if
        the prompt failed.
        """
        if self.error is not None:
            raise self.error
        value: T = self._answer_type.parse(
            self.text, complete=self.complete, finish_reason=self.finish_reason
        )
        return value

    @classmethod
    def of(cls, result: BatchResult, answer_type: AnswerType[T]) -> Self:
        """Return a result that knows the type of its answer."""
        fields = {name: getattr(result, name) for name in msgspec.structs.asdict(result)}
        return cls(**fields, _answer_type=answer_type)


class ParsedBatch(ItemStream[ParsedResult[T]]):
    """The stream of `Model.batch` with a ``response_model``: yields each `ParsedResult` at its end."""
