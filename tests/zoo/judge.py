"""Compares every answer of the engine with the model alone, which has no cache and no batch.

A difference is a token that is not the likeliest where the likeliest two are further apart than
`DECIDED`, or a log-probability that is off by more than `TOLERANCE`, both in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlxwire_worker.passes import Classified
from support.direct import Answer

DECIDED = 0.005
TOLERANCE = 0.002

Row = np.ndarray[Any, np.dtype[np.float64]]


class Alone:
    """A model without a cache: one forward pass over all tokens for each token that follows.

    ``make`` creates caches for such a pass, if they are part of what it computes.
    """

    def __init__(self, model: Any, make: Callable[[], list[Any]] | None = None) -> None:
        self._model = model
        # Without a cache, mlx-lm's Gemma 3n does not share keys between layers as the family does.
        shares = model.model_type == "gemma3n"
        self._make = make or (partial(make_prompt_cache, model) if shares else lambda: None)
        self._rows: dict[tuple[int, ...], Row] = {}

    def logprobs(self, ids: list[int]) -> Row:
        """Return the log-probabilities [V] of the token that follows ``ids``."""
        known = self._rows.get(tuple(ids))
        if known is None:
            row = self._model(mx.array([ids]), cache=self._make())[0, -1].astype(mx.float32)
            logits = np.array(row).astype(np.float64)
            highest = logits.max()
            known = logits - highest - np.log(np.exp(logits - highest).sum())
            self._rows[tuple(ids)] = known
        return known

    def score(self, ids: list[int], continuation: list[int]) -> float:
        """Return the log-probability of a continuation, the sum over its tokens."""
        return sum(
            float(self.logprobs(ids + continuation[:place])[token])
            for place, token in enumerate(continuation)
        )


class Judge:
    """Collects what differs, each with the operation in which it was seen.

    ``scale`` widens both limits for models that magnify rounding.
    """

    def __init__(self, alone: Alone, scale: float = 1.0) -> None:
        self.alone = alone
        self._decided, self._tolerance = DECIDED * scale, TOLERANCE * scale
        self.differences: list[str] = []
        self.compared = 0
        """Tokens and labels that were held against the model alone."""

    def answer(self, operation: str, ids: list[int], answer: Answer) -> None:
        """Judge a generated answer, teacher-forced along its own tokens."""
        if answer.error is not None:
            self.differences.append(f"{operation}: {answer.error!r}")
            return
        if not answer.tokens:
            self.differences.append(f"{operation}: no token")
        told = zip(answer.tokens, answer.logprobs, answer.tops, strict=True)
        for place, (token, logprob, top) in enumerate(told):
            row = self.alone.logprobs(ids + answer.tokens[:place])
            where = f"{operation}: token {place} after {len(ids)}"
            self._token(where, row, token, logprob)
            for other, value in top or []:
                self._close(f"{where}, of the likeliest {other}", float(row[other]), value)

    def classified(
        self,
        operation: str,
        ids: list[int],
        result: Classified,
        labels: Mapping[str, Sequence[int]],
        replaced: int = 0,
    ) -> None:
        """Judge one prompt's result of a `classify`; labels stand for its ``replaced`` last ids."""
        where = f"{operation}: prompt of {len(ids)}"
        self._token(where, self.alone.logprobs(ids), result.token_id, result.logprob)
        followed = ids[: len(ids) - replaced]
        scores = {
            label: self.alone.score(followed, list(tokens)) for label, tokens in labels.items()
        }
        total = float(np.logaddexp.reduce(list(scores.values())))
        for label, score in scores.items():
            assert result.labels is not None
            told = float(np.log(max(result.labels[label], 1e-300)))
            self._close(f"{where}, label {label!r}", max(score - total, np.log(1e-300)), told)

    def _token(self, where: str, row: Row, token: int, logprob: float | None) -> None:
        second, first = np.sort(row)[-2:]
        if token != int(row.argmax()) and first - second > self._decided:
            self.differences.append(f"{where}: {token} instead of {int(row.argmax())}")
        assert logprob is not None
        self._close(where, float(row[token]), logprob)

    def _close(self, where: str, expected: float, told: float) -> None:
        self.compared += 1
        if not abs(expected - told) <= self._tolerance:  # a NaN differs too
            self.differences.append(f"{where}: {told:.4f} instead of {expected:.4f}")
