"""`rerank` with a classification head of one label: how well a document answers a query."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import mlx.core as mx

from mlxwire_protocol import WireError, invalid_params

from ...passes import Texts
from ...requests.admission import context_overflow
from ..models.soundness import NoNumbers
from ..one_pass.embedding.embedder import Embedder
from ..one_pass.embedding.slices import GROUP_TEXTS
from ..one_pass.groups import next_group
from ..one_pass.stepping import Work, next_results
from .bert import Encoder
from .passing import EncoderPass


class Ranker(NamedTuple):
    """The parts of an encoder with a head that rank; ``activation`` makes scores of logits."""

    model: Encoder
    passing: EncoderPass
    embedder: Embedder
    activation: str

    def pairs(self, query: str, documents: list[str], instruction: str | None) -> Texts:
        """Return the token ids of the query with each document, as the tokenizer joins pairs.

        Raises: WireError ``invalid_params``.
        """
        if instruction is not None:
            raise invalid_params(
                "instruction",
                "`instruction` is given, but the classification head of this model reads a query and a "
                "document alone; leave `instruction` out",
            )
        ids: list[list[int]] = []
        types: list[list[int]] = []
        failed: dict[int, WireError] = {}
        embedder = self.embedder
        lowers = embedder.settings.lower_case
        self._check_query(query)
        for index, document in enumerate(documents):
            field = f"documents[{index}]"
            embedder.tokenizer.refuse_long(
                document, field, embedder.most_tokens, answered=False
            )
            both = (query.lower(), document.lower()) if lowers else (query, document)
            found, kinds = embedder.tokenizer.encode_pair(*both)
            if len(found) > embedder.most_tokens:
                failed[index] = context_overflow(
                    field, len(found), embedder.most_tokens, answered=False
                )
            ids.append([] if index in failed else found)
            types.append([] if index in failed else kinds)
        return Texts(ids=ids, failed=failed, options=types)

    def _check_query(self, query: str) -> None:
        """Refuse a query that does not fit without a document. Raises: WireError."""
        tokenizer, most = self.embedder.tokenizer, self.embedder.most_tokens
        tokenizer.refuse_long(query, "query", most, answered=False)
        if len(ids := tokenizer.encode(query)) > most:
            raise context_overflow("query", len(ids), most, answered=False)

    def score(self, pairs: Texts) -> list[tuple[int, float]]:
        """Compute one slice; return (index, score) if it completes a group, else none.

        Raises: WireError ``model_load_failed`` for a score that is no number.
        """
        return next_results(
            pairs, lambda: self._score_all(pairs.ids, pairs.options, pairs.left)
        )

    def _score_all(
        self, ids: list[list[int]], types: list[list[int]], left: list[int]
    ) -> Work[float]:
        """Compute the pairs, group by group. Shortens ``left``."""
        while left:
            places = next_group(left, lambda place: len(ids[place]), texts=GROUP_TEXTS)
            kinds = [types[place] for place in places]
            for piece in self.passing.pieces([ids[place] for place in places], None, kinds):
                if piece is None:
                    yield None
                    continue
                logits = self.model.head(piece.states[:, 0]).astype(mx.float32)[:, 0]
                scores = cast(list[float], self._scores(logits).tolist())
                if not all(map(math.isfinite, scores)):
                    raise NoNumbers
                yield list(zip(places, scores, strict=True))

    def _scores(self, logits: mx.array) -> mx.array:
        if self.activation == "Identity":
            return logits
        return mx.tanh(logits) if self.activation == "Tanh" else mx.sigmoid(logits)
