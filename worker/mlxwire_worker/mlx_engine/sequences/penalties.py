"""Applies penalties, logit bias and `min_tokens` to the logits of a whole batch.

Repetition, presence and frequency penalties count generated tokens only, as OpenAI's do, within
each request's window. A row without penalties has neutral values, so a few array operations
serve all rows.
"""

from __future__ import annotations

import mlx.core as mx

from .rows import Row


class Penalties:
    """The penalties of a batch's rows, in the batch's order.

    ``counts`` [B, V] are the generated tokens inside each row's window, in float32; the rows'
    parameters are columns [B, 1].
    """

    def __init__(self, rows: list[Row], counts: mx.array | None = None) -> None:
        all_params = [row.prompt.params for row in rows]
        self._rows = rows
        self._counts = counts
        self._bias: mx.array | None = None
        self._repeat = _column([each.repeat_penalty or 1.0 for each in all_params])
        self._presence = _column([each.presence_penalty for each in all_params])
        self._frequency = _column([each.frequency_penalty for each in all_params])
        self._counting = any(row.counts_tokens for row in rows)
        self._biased = [place for place, row in enumerate(rows) if row.prompt.params.logit_bias]
        self._minimum = [
            place for place, row in enumerate(rows) if row.prompt.params.min_tokens
        ]
        self._windowed = [
            place for place, row in enumerate(rows) if row.prompt.params.penalty_window
        ]

    @classmethod
    def joined(
        cls, rows: list[Row], first: Penalties | None, second: Penalties | None, split: int
    ) -> Penalties | None:
        """Join the penalties of two batches; the first ``split`` rows are those of ``first``."""
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
        return _penalties(rows, counts)

    def kept(self, rows: list[Row], places: list[int]) -> Penalties | None:
        """Return the penalties of the rows at ``places``, which are ``rows``; None if none asks."""
        counts = self._counts[mx.array(places)] if self._counts is not None else None
        return _penalties(rows, counts)

    def apply(self, logits: mx.array, drawn: list[int]) -> mx.array:
        """Apply the rows' parameters to logits [B, V] and return them in the same dtype.

        ``drawn`` is the number of tokens that each row has drawn before.
        """
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
            if drawn[place] < prompt.params.min_tokens and prompt.stop_ids:
                wide[place, mx.array(sorted(prompt.stop_ids))] = -mx.inf
        return wide.astype(logits.dtype)

    def count(self, tokens: mx.array, drawn: list[int]) -> None:
        """Count the drawn tokens [B], and stop counting those that leave their windows."""
        if not self._counting or self._counts is None:
            return
        rows = mx.arange(tokens.shape[0])
        self._counts = self._counts.at[rows, tokens].add(1.0)
        leaving = [
            (place, row.generated[leaves])
            for place in self._windowed
            if (row := self._rows[place])
            and (leaves := drawn[place] - row.prompt.params.penalty_window) >= 0
        ]
        if leaving:
            places, ids = zip(*leaving, strict=True)
            self._counts = self._counts.at[mx.array(places), mx.array(ids)].subtract(1.0)

    def _counted_so_far(self, shape: tuple[int, ...]) -> mx.array:
        """Count the tokens that rows generated before they entered this batch.

        Only rows that return after a failed step have any.
        """
        counts = mx.zeros(shape, dtype=mx.float32)
        for place, row in enumerate(self._rows):
            window = row.prompt.params.penalty_window
            if recent := row.generated[-window:]:
                counts = counts.at[place, mx.array(recent)].add(1.0)
        return counts

    def _bias_rows(self, shape: tuple[int, ...]) -> mx.array:
        if self._bias is None:
            bias = mx.zeros(shape, dtype=mx.float32)
            for place in self._biased:
                given = self._rows[place].prompt.params.logit_bias
                ids = mx.array(list(given))
                bias[place, ids] = mx.array(list(given.values()), dtype=mx.float32)
            self._bias = bias
        return self._bias


def _penalties(rows: list[Row], counts: mx.array | None) -> Penalties | None:
    return Penalties(rows, counts) if any(row.shapes_logits for row in rows) else None


def _counts_or_zeros(part: Penalties | None, rows: int, size: int) -> mx.array:
    if part is None or part._counts is None:
        return mx.zeros((rows, size), dtype=mx.float32)
    return part._counts


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
