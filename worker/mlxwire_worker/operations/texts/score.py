"""`score`: return the log-probability of each token of each text."""

from __future__ import annotations

import math
from typing import ClassVar

from msgspec import Struct

from mlxwire_protocol.texts.replies import ScoreItem
from mlxwire_protocol.texts.requests import Score

from ...passes import Scored, Texts
from .items import TextItems


class ScoreOperation(TextItems[Texts, Scored]):
    """A `score` request, whose texts are computed in groups, slice by slice."""

    __slots__ = ()

    phase: ClassVar[str] = "score"

    def texts(self) -> Texts:
        """Tokenize the texts."""
        request = self.job.command
        assert isinstance(request, Score)
        return self.engine.score_texts(request.texts, request.adapter)

    def compute(self, texts: Texts) -> list[tuple[int, Scored]]:
        """Compute one slice."""
        return self.engine.score(texts)

    def item(self, index: int, result: Scored) -> Struct:
        """Return the tokens of a text with their log-probabilities."""
        ids = self.ids_of(index)
        logprobs = result.logprobs
        return ScoreItem(
            id=self.job.id,
            index=index,
            token_ids=ids,
            pieces=self.engine.pieces(ids),
            logprobs=[None, *logprobs],
            perplexity=_perplexity(logprobs),
        )


def _perplexity(logprobs: list[float]) -> float | None:
    """Return the exponential of the mean loss; None without a token, or past a double's range."""
    if not logprobs or math.isinf(math.fsum(logprobs)):
        return None
    try:
        return math.exp(-math.fsum(logprobs) / len(logprobs))
    except OverflowError:
        return None
