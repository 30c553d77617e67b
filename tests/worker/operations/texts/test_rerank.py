"""`rerank` gives equal documents one score, and computes them once."""

from __future__ import annotations

from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.passes import Texts
from support.memory_host import MemoryHost


class RoundingEngine(MockEngine):
    """Scores each pair a little higher than the one before it, as rounding may."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: list[int] = []

    def rerank(self, pairs: Texts) -> list[tuple[int, float]]:
        ((index, score),) = super().rerank(pairs)
        self.computed.append(index)
        return [(index, score + 1e-9 * len(self.computed))]


def test_equal_documents_are_computed_once_and_stand_in_their_order() -> None:
    engine = RoundingEngine()
    documents = ["red", "blue sky", "red", "sky", "blue sky", "red"]
    host = MemoryHost(engine)
    host.hello()
    host.load()

    found = host.ask("rerank", query="blue sky", documents=documents)
    best = host.ask("rerank", query="blue sky", documents=documents, top_n=2)

    assert [each["index"] for each in found["results"]] == [1, 4, 3, 0, 2, 5]
    scores = {each["index"]: each["relevance_score"] for each in found["results"]}
    assert scores[1] == scores[4]
    assert scores[0] == scores[2] == scores[5]
    assert [each["index"] for each in best["results"]] == [1, 4]
    assert sorted(engine.computed[:3]) == [0, 1, 3]
    assert len(engine.computed) == 6  # of two requests
