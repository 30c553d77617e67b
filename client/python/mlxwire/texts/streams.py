"""The streams of `classify`, `embed` and `score`."""

from __future__ import annotations

from ..item_stream import ItemStream
from ..results import ClassifyResult
from .results import Embedding, ScoreResult, Vector


class ClassifyStream(ItemStream[ClassifyResult]):
    """The stream of `Model.classify`: an async iterator over `ClassifyResult`, as they are computed.

    A prompt that fails has its own ``error`` and does not disturb the others. Awaited, it gives the
    results in the order of the prompts.
    """


class ScoreStream(ItemStream[ScoreResult]):
    """The stream of `Model.score`: an async iterator over `ScoreResult`, as they are computed.

    A text that fails has its own ``error`` and does not disturb the others. Awaited, it gives the
    results in the order of the texts.
    """


class EmbeddingStream(ItemStream[Embedding]):
    """The stream of `Model.embed`: an async iterator over `Embedding`, as they are computed.

    A text that fails has its own ``error`` and does not disturb the others. Awaited, it gives the
    embeddings in the order of the texts.
    """

    async def vectors(self) -> list[Vector]:
        """Wait for the end, and return the vectors alone, in the order of the texts.

        Raises: as `results`, and the ``error`` of the first text that failed, which has all embeddings
        as ``results``.
        """
        return vectors_of(await self.results())


def vectors_of(embeddings: list[Embedding]) -> list[Vector]:
    """Return the vectors of embeddings. Raises: the first ``error`` among them."""
    for embedding in embeddings:
        if embedding.error is not None:
            embedding.error.results = [*embeddings]
            raise embedding.error
    return [embedding.vector for embedding in embeddings]
