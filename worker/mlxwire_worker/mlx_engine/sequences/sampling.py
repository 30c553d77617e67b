"""Samples the next token of all rows at once; each row has its own parameters and random keys.

Parameters are arrays, so a new temperature compiles nothing: mlx-lm's samplers make them constants
of compiled functions, 410 ms per new value on a CPU and a cache that only grows
(docs/engine-notes.md §7). As in mlx-lm, cuts use the probabilities before temperature.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mlx.core as mx

from .penalties import Penalties
from .rows import Row

COLDEST = 1e-3
"""Lower temperatures are sampled greedily: dividing by them would only overflow."""


class Choice(NamedTuple):
    """The chosen ids [B], and a number for each row [B, 1] that is finite if its logits are.

    Lazy arrays. If a row asked for them: float32 log-probabilities of the chosen ids [B], and ids and
    log-probabilities of the likeliest tokens [B, K], in no order.
    """

    tokens: mx.array
    evidence: mx.array
    logprobs: mx.array | None = None
    top_ids: mx.array | None = None
    top_logprobs: mx.array | None = None

    def rows(self, index: mx.array) -> Choice:
        """Return the choices of the rows at the places ``index`` [N]."""
        return Choice(
            self.tokens[index],
            self.evidence[index],
            *(None if array is None else array[index] for array in self[2:]),
        )

    def arrays(self) -> list[mx.array]:
        """Return the arrays that are present, to be evaluated; the evidence is seldom read."""
        return [self.tokens, *(array for array in self[2:] if array is not None)]

    def unsound(self, ids: list[int]) -> list[int]:
        """Return the places of the rows whose logits were no numbers; ``ids`` are the tokens.

        Comparisons with NaN are false, so each kind of sampling takes the first token then. Only
        rows with that token are looked at: a step of other tokens costs nothing.
        """
        if 0 not in ids:
            return []
        values: Any = self.evidence[:, 0].tolist()
        return [
            place
            for place, token in enumerate(ids)
            if not token and not values[place] < math.inf
        ]


class BatchSampler:
    """Samples for the rows of one batch, in the batch's order."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = list(rows)
        self._drawn = [len(row.generated) for row in rows]
        shaped = any(row.shapes_logits for row in rows)
        self._penalties = Penalties(rows) if shaped else None
        self._regroup()

    def extend(self, other: BatchSampler) -> None:
        """Append the rows of another sampler, with their numbers of draws."""
        split = len(self._rows)
        self._rows = self._rows + other._rows
        self._penalties = Penalties.joined(self._rows, self._penalties, other._penalties, split)
        self._drawn += other._drawn
        self._regroup()

    def keep(self, kept: list[int]) -> None:
        """Remove all rows but those at the places ``kept``."""
        self._rows = [self._rows[place] for place in kept]
        self._drawn = [self._drawn[place] for place in kept]
        if self._penalties is not None:
            self._penalties = self._penalties.kept(self._rows, kept)
        self._regroup()

    def choose(
        self,
        logits: mx.array,
        unread: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> Choice:
        """Sample the next token of every row, lazily, from ``logits`` [B, V].

        ``unread`` are the tokens [B] of the step before, if the rows' ``generated`` still lack
        them; ``mask`` [B, V] is true for the tokens that may be chosen, None for all. Raises:
        whatever a row's own processor raises.
        """
        shaped = logits
        if self._penalties is not None:
            shaped = self._penalties.apply(logits, self._drawn)
        if self._processed:
            shaped = self._process(shaped, unread)
        if mask is not None:
            shaped = mx.where(mask, shaped, -mx.inf)
        tokens, evidence = self._pick(shaped)
        if self._penalties is not None:
            self._penalties.count(tokens, self._drawn)
        self._drawn = [drawn + 1 for drawn in self._drawn]
        if not self._wants_logprobs:
            return Choice(tokens, evidence)
        return Choice(tokens, evidence, *self._logprobs(logits, tokens))

    def _process(self, logits: mx.array, unread: mx.array | None) -> mx.array:
        """Apply the rows' own processors. They see all tokens, so this waits for the device."""
        last: Any = [] if unread is None else unread.tolist()
        for place, row in self._processed:
            assert row.processor is not None
            generated = row.generated + last[place : place + 1]
            shaped = row.processor(generated, logits[place : place + 1])
            logits = mx.concatenate([logits[:place], shaped, logits[place + 1 :]])
        return logits

    def _regroup(self) -> None:
        """Group the rows by the kind of sampling that they need, after a change of the rows."""
        greedy, plain, cut = [], [], []
        for place, row in enumerate(self._rows):
            params = row.prompt.params
            if params.temperature < COLDEST:
                greedy.append(place)
            elif _cuts(row):
                cut.append(place)
            else:
                plain.append(place)
        self._groups = [
            _Group(places, [self._rows[place] for place in places], pick)
            for places, pick in ((greedy, _greedy), (plain, _plain), (cut, _cut))
            if places
        ]
        order = [place for group in self._groups for place in group.places]
        self._restore = None
        if len(self._groups) > 1:
            back = sorted(range(len(order)), key=order.__getitem__)
            self._restore = mx.array(back)
        self._processed = [(p, row) for p, row in enumerate(self._rows) if row.processor]
        wanted = [row.prompt.params for row in self._rows]
        self._wants_logprobs = any(each.logprobs for each in wanted)
        self._top = max((each.top_logprobs for each in wanted), default=0)

    def _pick(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        if self._restore is None:
            (group,) = self._groups
            return group.pick(group, logits, self._drawn)
        picked = [group.pick(group, logits[group.index], self._drawn) for group in self._groups]
        tokens, evidence = zip(*picked, strict=True)
        order = self._restore
        return mx.concatenate(list(tokens))[order], mx.concatenate(list(evidence))[order]

    def _logprobs(self, logits: mx.array, tokens: mx.array) -> tuple[mx.array, ...]:
        """Compute log-probabilities by the model's own distribution, before penalties."""
        wide = logits.astype(mx.float32)
        wide = wide - mx.logsumexp(wide, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(wide, tokens[:, None], axis=-1)[:, 0]
        if not self._top:
            return (chosen,)
        top = mx.argpartition(-wide, kth=self._top - 1, axis=-1)[:, : self._top]
        return chosen, top, mx.take_along_axis(wide, top, axis=-1)


class _Group:
    """Rows that need the same kind of sampling, with their parameters as columns [N, 1]."""

    def __init__(self, places: list[int], rows: list[Row], pick: _Pick) -> None:
        self.places = places
        self.rows = rows
        self.pick = pick
        self.index = mx.array(places)
        all_params = [row.prompt.params for row in rows]
        if pick is _greedy:
            return
        self.inverse_temperature = _column([1 / each.temperature for each in all_params])
        if pick is not _cut:
            return
        self.top_p = _column([each.top_p or 1.0 for each in all_params])
        self.min_logprob = _column(
            [math.log(each.min_p) if each.min_p else -math.inf for each in all_params]
        )
        self.top_k = _column([float(each.top_k or math.inf) for each in all_params])
        self.xtc = None
        if any(each.xtc_probability for each in all_params):
            self.xtc = (
                _column([each.xtc_probability for each in all_params]),
                _column([each.xtc_threshold for each in all_params]),
            )

    def keys(self, drawn: list[int]) -> mx.array:
        """Return each row's key for its next draw: uint32 [N, 2]."""
        pairs = [
            row.key(drawn[place]) for place, row in zip(self.places, self.rows, strict=True)
        ]
        return mx.array(pairs, dtype=mx.uint32)


class _Pick:
    """Chooses ids [N] from logits [N, V]; returns them and `Choice.evidence` [N, 1].

    The evidence is a number that the choice needs in any case.
    """

    def __call__(
        self, group: _Group, logits: mx.array, drawn: list[int]
    ) -> tuple[mx.array, mx.array]:
        raise NotImplementedError


class _GreedyPick(_Pick):
    def __call__(
        self, group: _Group, logits: mx.array, drawn: list[int]
    ) -> tuple[mx.array, mx.array]:
        # mlx-lm compares logprobs in the model's dtype. In bf16 their rounding makes ties that
        # the logits do not have, and the greedy text must equal mlx-lm's.
        total = mx.logsumexp(logits, axis=-1, keepdims=True)
        return mx.argmax(logits - total, axis=-1), total


class _PlainPick(_Pick):
    def __call__(
        self, group: _Group, logits: mx.array, drawn: list[int]
    ) -> tuple[mx.array, mx.array]:
        scaled = logits.astype(mx.float32) * group.inverse_temperature
        return _draw(scaled, group.keys(drawn)), scaled[:, :1]


class _CutPick(_Pick):
    def __call__(
        self, group: _Group, logits: mx.array, drawn: list[int]
    ) -> tuple[mx.array, mx.array]:
        wide = logits.astype(mx.float32)
        order = mx.argsort(-wide, axis=-1)
        logprobs = mx.take_along_axis(wide, order, axis=-1)
        total = mx.logsumexp(logprobs, axis=-1, keepdims=True)
        logprobs = logprobs - total
        probabilities = mx.exp(logprobs)
        above = mx.cumsum(probabilities, axis=-1, inclusive=False)
        kept = above < group.top_p
        kept = mx.logical_and(kept, logprobs >= logprobs[:, :1] + group.min_logprob)
        keys = group.keys(drawn)
        rank = mx.arange(logits.shape[-1])[None]
        if group.xtc is not None:
            excluded = _top_choices(mx.where(kept, probabilities, 0.0), group.xtc, keys)
            kept, rank = mx.logical_and(kept, rank >= excluded), rank - excluded
        # The kept tokens are one run in the order, so the k likeliest are the first k of it.
        kept = mx.logical_and(kept, rank < group.top_k)
        scaled = mx.where(kept, logprobs * group.inverse_temperature, -mx.inf)
        place = _draw(scaled, keys)
        return mx.take_along_axis(order, place[:, None], axis=-1)[:, 0], total


_greedy, _plain, _cut = _GreedyPick(), _PlainPick(), _CutPick()


def _top_choices(
    probabilities: mx.array, xtc: tuple[mx.array, mx.array], keys: mx.array
) -> mx.array:
    """Return how many of the likeliest tokens XTC leaves out in each row [N, 1].

    XTC (text-generation-webui#6335) leaves out, with a row's probability, all tokens above the
    threshold but the least likely of them. ``probabilities`` are sorted, 0 for cut tokens. mlx-lm
    flips one coin for the whole batch; here each row flips its own.
    """
    probability, threshold = xtc
    coins = mx.vmap(lambda key: mx.random.uniform(key=key))(
        keys ^ mx.array(0x5BF03635, mx.uint32)
    )
    left = mx.sum(probabilities, axis=-1, keepdims=True)
    above = mx.sum(probabilities > threshold * left, axis=-1, keepdims=True)
    return mx.where(coins[:, None] < probability, mx.maximum(above - 1, 0), 0)


def _draw(scaled: mx.array, keys: mx.array) -> mx.array:
    """Draw from softmax(scaled) [N, V] with each row's own key (the Gumbel-max trick)."""
    size = scaled.shape[-1]
    noise = mx.vmap(lambda key: mx.random.gumbel(shape=(size,), key=key))(keys)
    return mx.argmax(scaled + noise, axis=-1)


def _cuts(row: Row) -> bool:
    params = row.prompt.params
    return bool(0 < params.top_p < 1 or params.min_p or params.top_k or params.xtc_probability)


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
