"""The part of the engine that reads prompts and texts in one pass: classify, score, rerank, inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...passes import (
    Classified,
    ClassifyInput,
    ClassifyPrompts,
    Scored,
    TextInput,
    Texts,
)
from ...prompts import Inspected, Inspection, SamplingParams
from ..keeping import KeepingEngine

if TYPE_CHECKING:
    from .groups import Tools


class OnePassEngine(KeepingEngine):
    """Tokenizes on the prepare thread, and computes slices on the engine's thread."""

    def classify_prompts(self, given: ClassifyInput, params: SamplingParams) -> ClassifyPrompts:
        """Tokenize prompts and labels."""
        from . import inputs

        return inputs.classify_prompts(given, params, self._ready(), self._templates.render)

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """Compute one slice of a group of prompts."""
        from .classifying import classify_slice

        return classify_slice(self._tools(prompts), prompts)

    def score_texts(self, texts: list[TextInput], adapter: str | None) -> Texts:
        """Tokenize texts to score."""
        from . import inputs

        return inputs.score_texts(texts, adapter, self._ready())

    def score(self, texts: Texts) -> list[tuple[int, Scored]]:
        """Compute one slice of a group of texts."""
        from .token_scores import score_slice

        return score_slice(self._tools(texts), texts, self._ready().info.vocab_size)

    def rerank_pairs(
        self, query: str, documents: list[str], instruction: str | None, adapter: str | None
    ) -> Texts:
        """Tokenize a query with each document."""
        from . import inputs

        loaded, render = self._ready(), self._templates.render
        return inputs.rerank_pairs(query, documents, instruction, adapter, loaded, render)

    def rerank(self, pairs: Texts) -> list[tuple[int, float]]:
        """Compute one slice of a group of pairs."""
        from .reranking import rerank_slice

        return rerank_slice(self._tools(pairs), pairs)

    def inspection(self, text: str, layers: list[int] | None, path: str) -> Inspection:
        """Tokenize a prompt to inspect, and check the path."""
        from .. import preparing

        self._paths.output(path)
        return preparing.inspection(text, layers, path, self._ready())

    def inspect(self, inspection: Inspection) -> Inspected | None:
        """Compute one layer of a prompt, or write the file."""
        from . import attention

        model, file = self._ready().model, self._paths.output(inspection.path)
        return attention.inspect_slice(model, inspection, file)

    def _tools(self, texts: Texts) -> Tools:
        from .groups import Tools

        loaded = self._ready()
        return Tools(
            loaded.row_model.alike(texts.adapter),
            loaded.policy,
            loaded.tokenizer.text_of,
            loaded.chunk,
        )
