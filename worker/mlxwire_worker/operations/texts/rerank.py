"""`rerank`: order documents by how well they answer a query."""

from __future__ import annotations

from typing import ClassVar

from mlxwire_protocol.texts.replies import Ranked, RerankResult
from mlxwire_protocol.texts.requests import Rerank

from ...passes import Texts
from ..operation import OnePass


class RerankOperation(OnePass):
    """A `rerank` request, whose pairs of query and document are computed in groups.

    Equal documents are computed once: in groups of other lengths their scores would differ by rounding,
    and their order with them. ``_same`` has the first of the documents that equal each.
    """

    __slots__ = ("_pairs", "_same", "_scores")

    phase: ClassVar[str] = "rerank"
    _pairs: Texts
    _same: list[int]
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
        first: dict[str, int] = {}
        self._same = [first.setdefault(text, n) for n, text in enumerate(request.documents)]
        self._pairs.left = [place for place in self._pairs.left if self._same[place] == place]
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
        scores = [self._scores[place] for place in self._same]
        best = sorted(enumerate(scores), key=lambda scored: (-scored[1], scored[0]))
        return RerankResult(
            id=self.job.id,
            results=[
                Ranked(index=index, relevance_score=score)
                for index, score in best[: request.top_n]
            ],
            metrics=self.ledger.metrics_of(self.job),
        )
