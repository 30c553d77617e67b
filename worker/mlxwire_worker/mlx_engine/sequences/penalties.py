"""Repetition, presence and frequency penalties, logit bias and min_tokens, for a whole batch.

They count over the generated text alone, as OpenAI's do, within each request's window. A row
that asks for none has neutral values, so a few array operations shape the whole batch.
"""

from __future__ import annotations

import mlx.core as mx

from .rows import Row


class Penalties:
    """``counts`` [B, V] of generated tokens in float32, and the rows' parameters as columns."""

    def __init__(self, rows: list[Row], counts: mx.array | None = None) -> None:
        requests = [row.prompt.request for row in rows]
        self._rows = rows
        self._counts = counts
        self._bias: mx.array | None = None
        self._repeat = _column([request.repeat_penalty or 1.0 for request in requests])
        self._presence = _column([request.presence_penalty for request in requests])
        self._frequency = _column([request.frequency_penalty for request in requests])
        self._counting = any(map(_counts, rows))
        self._biased = [
            place for place, row in enumerate(rows) if row.prompt.request.logit_bias
        ]
        self._minimum = [
            place for place, row in enumerate(rows) if row.prompt.request.min_tokens
        ]
        self._windowed = [
            place for place, row in enumerate(rows) if row.prompt.request.penalty_window
        ]

    @classmethod
    def of(cls, rows: list[Row], counts: mx.array | None = None) -> Penalties | None:
        """None where no row asks for any."""
        return cls(rows, counts) if any(map(_asks, rows)) else None

    @classmethod
    def joined(
        cls, rows: list[Row], first: Penalties | None, second: Penalties | None, split: int
    ) -> Penalties | None:
        """Two batches' penalties as one batch's; ``split`` rows are the first's."""
        counts = None
        known = [part._counts for part in (first, second) if part and part._counts is not None]
        if known:
            size = known[0].shape[-1]
            counts = mx.concatenate(
                [
                    _counts_or_zeros(first, split, size),
                    _counts_or_zeros(second, len(rows) - split, size),
                ]
            )
        return cls.of(rows, counts)

    def kept(self, rows: list[Row], places: list[int]) -> Penalties | None:
        """The penalties of the rows at ``places``, which are ``rows``."""
        counts = self._counts[mx.array(places)] if self._counts is not None else None
        return Penalties.of(rows, counts)

    def apply(self, logits: mx.array, drawn: list[int]) -> mx.array:
        """Logits [B, V] as the requests shape them; ``drawn`` tokens were drawn before."""
        wide = logits.astype(mx.float32)
        if self._counts is None:
            self._counts = self._counted_so_far(wide.shape)
        if self._counting:
            seen = self._counts > 0
            penalized = mx.where(wide > 0, wide / self._repeat, wide * self._repeat)
            wide = mx.where(seen, penalized, wide)
            wide = wide - seen * self._presence - self._counts * self._frequency
        if self._biased:
            wide = wide + self._bias_rows(wide.shape)
        for place in self._minimum:
            prompt = self._rows[place].prompt
            if drawn[place] < prompt.request.min_tokens and prompt.stop_ids:
                wide[place, mx.array(sorted(prompt.stop_ids))] = -mx.inf
        return wide.astype(logits.dtype)

    def count(self, tokens: mx.array, drawn: list[int]) -> None:
        """Take the drawn tokens [B] into account, and let old ones leave their windows."""
        if not self._counting or self._counts is None:
            return
        rows = mx.arange(tokens.shape[0])
        self._counts = self._counts.at[rows, tokens].add(1.0)
        leaving = [
            (place, row.generated[leaves])
            for place in self._windowed
            if (row := self._rows[place])
            and (leaves := drawn[place] - row.prompt.request.penalty_window) >= 0
        ]
        if leaving:
            places, ids = zip(*leaving, strict=True)
            self._counts = self._counts.at[mx.array(places), mx.array(ids)].subtract(1.0)

    def _counted_so_far(self, shape: tuple[int, ...]) -> mx.array:
        """Counts of what rows that come back after a failed step had generated."""
        counts = mx.zeros(shape, dtype=mx.float32)
        for place, row in enumerate(self._rows):
            window = row.prompt.request.penalty_window
            if recent := row.generated[-window:]:
                counts = counts.at[place, mx.array(recent)].add(1.0)
        return counts

    def _bias_rows(self, shape: tuple[int, ...]) -> mx.array:
        if self._bias is None:
            bias = mx.zeros(shape, dtype=mx.float32)
            for place in self._biased:
                given = self._rows[place].prompt.request.logit_bias
                ids = mx.array([int(token) for token in given])
                bias[place, ids] = mx.array(list(given.values()), dtype=mx.float32)
            self._bias = bias
        return self._bias


def _asks(row: Row) -> bool:
    request = row.prompt.request
    return _counts(row) or bool(request.logit_bias) or request.min_tokens > 0


def _counts(row: Row) -> bool:
    request = row.prompt.request
    return (
        request.repeat_penalty not in (0.0, 1.0)
        or request.presence_penalty != 0.0
        or request.frequency_penalty != 0.0
    )


def _counts_or_zeros(part: Penalties | None, rows: int, size: int) -> mx.array:
    if part is None or part._counts is None:
        return mx.zeros((rows, size), dtype=mx.float32)
    return part._counts


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
