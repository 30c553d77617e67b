"""The rows that decode together: one forward pass a step for all of them.

A row alone runs on mlx-lm's plain caches, several on its batched ones. The next step is on its
way to the device before the last one's tokens are read, so a row's token comes one call late.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import mlx.core as mx

from ..cache import kv
from .rows import Row
from .sampling import BatchSampler, Choice

CLEAR_CACHE_STEPS = 512


class Token(NamedTuple):
    """One row's next token; log-probabilities where it asked."""

    row: Row
    token_id: int
    logprob: float | None
    top: list[tuple[int, float]] | None


class DecodeBatch:
    """Rows, their caches and samplers, and the step that is under way."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.rows: list[Row] = []
        self._layers: kv.Layers = []
        self._sampler: BatchSampler
        self._next: Choice
        self._steps = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows' caches."""
        return kv.nbytes(self._layers)

    def join(self, rows: list[Row], layers: kv.Layers) -> None:
        """Add rows whose prompts are computed up to their last token.

        ``layers`` are plain caches for one row, batched ones for several.
        """
        sampler = BatchSampler(rows)
        last = mx.array([row.tokens[-1] for row in rows])
        choice = sampler.choose(self._model(last[:, None], cache=layers)[:, -1, :])
        mx.async_eval(choice.arrays())
        for row in rows:
            row.layers = None
            row.held += 1
        if not self.rows:
            self.rows, self._layers = list(rows), layers
            self._sampler, self._next = sampler, choice
            return
        if len(self.rows) == 1:
            self._layers = kv.merge([self._layers])
        if len(rows) == 1:
            layers = kv.merge([layers])
        self._layers = kv.extend(self._layers, layers)
        self.rows = self.rows + rows
        self._sampler.extend(sampler)
        self._next = _joined(self._next, choice)
        mx.async_eval(kv.paddings(self._layers))

    def step(self) -> list[Token]:
        """Every row's next token."""
        current = self._next
        if any(len(row.generated) + 1 < max(row.prompt.max_tokens, 1) for row in self.rows):
            kv.share_offsets(self._layers)
            logits = self._model(current.tokens[:, None], cache=self._layers)[:, -1, :]
            self._next = self._sampler.choose(logits, current.tokens)
            mx.async_eval(self._next.arrays())
            for row in self.rows:
                row.held += 1
        tokens = self._read(current)
        self._steps += 1
        if self._steps % CLEAR_CACHE_STEPS == 0:
            mx.clear_cache()
        return tokens

    def take_out(self, row: Row) -> tuple[list[int], kv.Layers]:
        """A row's tokens as its cache holds them, and that cache; the batch is unchanged."""
        place = self.rows.index(row)
        layers = self._layers
        if len(self.rows) > 1:
            layers = kv.extract_row(layers, place, row.held)
        return (row.prompt.ids + row.generated)[: row.held], layers

    def drop(self, rows: list[Row]) -> None:
        """Remove rows; the others go on undisturbed."""
        gone = set(map(id, rows))
        kept = [place for place, row in enumerate(self.rows) if id(row) not in gone]
        if len(kept) == len(self.rows):
            return
        if not kept:
            self.clear()
            return
        self.rows = [self.rows[place] for place in kept]
        if len(kept) == 1:
            self._layers = kv.extract_row(self._layers, kept[0], self.rows[0].held)
        else:
            kv.keep_rows(self._layers, kept, [row.held for row in self.rows])
        index = mx.array(kept)
        self._sampler.keep(kept)
        self._next = self._next.rows(index)
        mx.async_eval(kv.paddings(self._layers))

    def clear(self) -> None:
        """Remove all rows."""
        self.rows, self._layers = [], []

    def _read(self, choice: Choice) -> list[Token]:
        ids: Any = choice.tokens.tolist()
        for row, token_id in zip(self.rows, ids, strict=True):
            row.generated.append(token_id)
        if choice.logprobs is None:
            return [Token(row, i, None, None) for row, i in zip(self.rows, ids, strict=True)]
        logprobs: Any = choice.logprobs.tolist()
        tops: list[list[tuple[int, float]]] = [[] for _ in ids]
        if choice.top_ids is not None and choice.top_logprobs is not None:
            top_ids: Any = choice.top_ids.tolist()
            pairs = zip(top_ids, cast(Any, choice.top_logprobs.tolist()), strict=True)
            tops = [sorted(zip(i, p, strict=True), key=lambda pair: -pair[1]) for i, p in pairs]
        return [
            _with_logprobs(row, token_id, logprob, top)
            for row, token_id, logprob, top in zip(self.rows, ids, logprobs, tops, strict=True)
        ]


def _with_logprobs(
    row: Row, token_id: int, logprob: float, top: list[tuple[int, float]]
) -> Token:
    request = row.prompt.request
    if not request.logprobs:
        return Token(row, token_id, None, None)
    wanted = top[: request.top_logprobs] if request.top_logprobs else None
    return Token(row, token_id, logprob, wanted)


def _joined(first: Choice, second: Choice) -> Choice:
    """Two batches' choices as one; what only one of them computed is filled in as absent."""
    rows = first.tokens.shape[0], second.tokens.shape[0]

    def both(a: mx.array | None, b: mx.array | None, fill: float) -> mx.array | None:
        if a is None and b is None:
            return None
        known = a if a is not None else b
        assert known is not None
        width = max((x.shape[1] for x in (a, b) if x is not None and x.ndim == 2), default=0)
        parts = []
        for part, count in zip((a, b), rows, strict=True):
            if part is None:
                shape = (count, width) if width else (count,)
                part = mx.full(shape, fill, dtype=known.dtype)
            elif width and part.shape[1] < width:
                part = mx.pad(part, [(0, 0), (0, width - part.shape[1])], constant_values=fill)
            parts.append(part)
        return mx.concatenate(parts)

    return Choice(
        mx.concatenate([first.tokens, second.tokens]),
        both(first.logprobs, second.logprobs, 0.0),
        both(first.top_ids, second.top_ids, 0),
        both(first.top_logprobs, second.top_logprobs, -mx.inf),
    )
