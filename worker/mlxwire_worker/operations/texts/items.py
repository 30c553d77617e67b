"""The base of operations that compute texts in one pass and send an item for each."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from msgspec import Struct

from mlxwire_protocol import WireError, error_body
from mlxwire_protocol.replies import FailedItem

from ...passes import Texts
from ..operation import OnePass

T = TypeVar("T", bound=Texts)
R = TypeVar("R")


class TextItems(OnePass, Generic[T, R]):
    """A request for many texts. A text that fails by itself has an item with its error."""

    __slots__ = ("_texts",)

    _texts: T

    @abstractmethod
    def texts(self) -> T:
        """Tokenize and check the texts. On the prepare thread. Raises: WireError."""

    @abstractmethod
    def compute(self, texts: T) -> list[tuple[int, R]]:
        """Compute one slice; return the results that it completes, with their texts' indices."""

    @abstractmethod
    def item(self, index: int, result: R) -> Struct:
        """Return the item of a text's result."""

    def prepare(self) -> None:
        """Tokenize the texts."""
        self._texts = self.texts()
        self.job.prompt_tokens = sum(map(len, self._texts.ids))

    @property
    def over(self) -> bool:
        """Return True once every text's item has been sent."""
        return not self._texts.unfinished and not self._texts.failed

    def step(self) -> bool:
        """Send the errors, compute one slice, send its items; end the job after the last."""
        failed, self._texts.failed = self._texts.failed, {}
        for index, error in failed.items():
            self.ledger.send(self.job, failed_item(self.job.id, index, error))
        results = self.compute(self._texts) if self._texts.unfinished else []
        if results:
            self.job.note_results(len(results))
        for index, result in results:
            self.ledger.send(self.job, self.item(index, result))
        if self.over:
            self.ledger.finish(self.job)
        return bool(results or failed)

    def ids_of(self, index: int) -> list[int]:
        """Return the token ids of a text."""
        return self._texts.ids[index]

    def tokens_of(self, index: int) -> int:
        """Return the number of a text's tokens."""
        return len(self._texts.ids[index])


def failed_item(job_id: str, index: int, error: WireError) -> FailedItem:
    """Return the item of a text that failed by itself."""
    return FailedItem(id=job_id, index=index, error=error_body(error))
