"""`rerank`: order documents by how well they answer a query."""

from __future__ import annotations

from typing import ClassVar

from mlxwire_protocol.texts.replies import Ranked, RerankResult
from mlxwire_protocol.texts.requests import Rerank

from ...passes import Texts
from ..operation import OnePass


class RerankOperation(OnePass):
    """A `rerank` request, whose pairs of query and document are computed in groups."""

    __slots__ = ("_pairs", "_scores")

    phase: ClassVar[str] = "rerank"
    _pairs: Texts
    _scores: dict[int, float]

    def prepare(self) -> None:
        """Tokenize the pairs. A document that is too long fails the request."""
        request = self.job.command
        assert isinstance(request, Rerank)
        self._scores = {}
        self._pairs = self.engine.rerank_pairs(
            request.query, request.documents, request.instruction, request.adapter
        )
        for error in self._pairs.failed.values():
            raise error
        self.job.prompt_tokens = sum(map(len, self._pairs.ids))

    @property
    def over(self) -> bool:
        """Return True once every pair has its score."""
        return not self._pairs.unfinished

    def step(self) -> bool:
        """Compute one slice; end the job after the last."""
        results = self.engine.rerank(self._pairs)
        if not results:
            return False
        self.job.note_results(len(results))
        self._scores.update(results)
        if self.over:
            self.ledger.end(self.job, self._result())
        return True

    def _result(self) -> RerankResult:
        request = self.job.command
        assert isinstance(request, Rerank)
        best = sorted(self._scores.items(), key=lambda scored: (-scored[1], scored[0]))
        return RerankResult(
            id=self.job.id,
            results=[
                Ranked(index=index, relevance_score=score)
                for index, score in best[: request.top_n]
            ],
            metrics=self.ledger.metrics_of(self.job),
        )
