"""Chooses the next token of every row at once; each row has its own parameters and keys.

Parameters are arrays, so that a new temperature compiles nothing: mlx-lm's samplers bake them
in as constants of compiled functions, 410 ms for each new value on the CPU, and a cache that
only grows (ENGINE.md §7). The cuts' meaning is theirs: by the probabilities before temperature.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mlx.core as mx

from .penalties import Penalties
from .rows import Row

COLDEST = 1e-3
"""Below this a temperature is greedy: dividing by it would only overflow."""


class Choice(NamedTuple):
    """Chosen ids [B]; where a row asked, log-probabilities in float32 of them [B], and of the
    likeliest [B, K] with their ids."""

    tokens: mx.array
    logprobs: mx.array | None = None
    top_ids: mx.array | None = None
    top_logprobs: mx.array | None = None

    def rows(self, index: mx.array) -> Choice:
        """The choices of some rows."""
        return Choice(
            self.tokens[index],
            *(None if array is None else array[index] for array in self[1:]),
        )

    def arrays(self) -> list[mx.array]:
        """What there is to evaluate."""
        return [array for array in self if array is not None]


class BatchSampler:
    """The samplers of a batch's rows, in its order."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = list(rows)
        self._drawn = [len(row.generated) for row in rows]
        self._penalties = Penalties.of(rows)
        self._regroup()

    def extend(self, other: BatchSampler) -> None:
        """Append another batch's rows, with the draws that they have made."""
        split = len(self._rows)
        self._rows = self._rows + other._rows
        self._penalties = Penalties.joined(self._rows, self._penalties, other._penalties, split)
        self._drawn += other._drawn
        self._regroup()

    def keep(self, kept: list[int]) -> None:
        """Drop all rows but ``kept``."""
        self._rows = [self._rows[place] for place in kept]
        self._drawn = [self._drawn[place] for place in kept]
        if self._penalties is not None:
            self._penalties = self._penalties.kept(self._rows, kept)
        self._regroup()

    def choose(self, logits: mx.array, unread: mx.array | None = None) -> Choice:
        """The next token of every row, lazily: ``logits`` [B, V] of the model's dtype.

        ``unread`` are the tokens [B] before it, where the rows' logs lack them still.
        """
        shaped = logits
        if self._penalties is not None:
            shaped = self._penalties.apply(logits, self._drawn)
        if self._processed:
            shaped = self._process(shaped, unread)
        tokens = self._pick(shaped)
        if self._penalties is not None:
            self._penalties.count(tokens, self._drawn)
        self._drawn = [drawn + 1 for drawn in self._drawn]
        if not self._wants_logprobs:
            return Choice(tokens)
        return self._with_logprobs(logits, tokens)

    def _process(self, logits: mx.array, unread: mx.array | None) -> mx.array:
        """Rows' own processors, which see all tokens so far: this waits for the last ones."""
        last: Any = [] if unread is None else unread.tolist()
        for place, row in self._processed:
            assert row.processor is not None
            generated = row.generated + last[place : place + 1]
            shaped = row.processor(generated, logits[place : place + 1])
            logits = mx.concatenate([logits[:place], shaped, logits[place + 1 :]])
        return logits

    def _regroup(self) -> None:
        """Sort rows into those that need the same work; only a change of rows changes it."""
        greedy, plain, cut = [], [], []
        for place, row in enumerate(self._rows):
            request = row.prompt.request
            if request.temperature < COLDEST:
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
        wanted = [row.prompt.request for row in self._rows]
        self._wants_logprobs = any(request.logprobs for request in wanted)
        self._top = max((request.top_logprobs for request in wanted), default=0)

    def _pick(self, logits: mx.array) -> mx.array:
        if self._restore is None:
            (group,) = self._groups
            return group.pick(group, logits, self._drawn)
        picked = [group.pick(group, logits[group.index], self._drawn) for group in self._groups]
        return mx.concatenate(picked)[self._restore]

    def _with_logprobs(self, logits: mx.array, tokens: mx.array) -> Choice:
        """The model's own distribution, before penalties and temperature."""
        wide = logits.astype(mx.float32)
        wide = wide - mx.logsumexp(wide, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(wide, tokens[:, None], axis=-1)[:, 0]
        if not self._top:
            return Choice(tokens, chosen)
        top = mx.argpartition(-wide, kth=self._top - 1, axis=-1)[:, : self._top]
        return Choice(tokens, chosen, top, mx.take_along_axis(wide, top, axis=-1))


class _Group:
    """Rows of one kind, their parameters as columns [N, 1]."""

    def __init__(self, places: list[int], rows: list[Row], pick: _Pick) -> None:
        self.places = places
        self.rows = rows
        self.pick = pick
        self.index = mx.array(places)
        requests = [row.prompt.request for row in rows]
        if pick is _greedy:
            return
        self.inverse_temperature = _column([1 / request.temperature for request in requests])
        if pick is not _cut:
            return
        self.top_p = _column([request.top_p or 1.0 for request in requests])
        self.min_logprob = _column(
            [math.log(request.min_p) if request.min_p else -math.inf for request in requests]
        )
        self.top_k = _column([float(request.top_k or math.inf) for request in requests])
        self.xtc = None
        if any(request.xtc_probability for request in requests):
            self.xtc = (
                _column([request.xtc_probability for request in requests]),
                _column([request.xtc_threshold for request in requests]),
            )

    def keys(self, drawn: list[int]) -> mx.array:
        """Each row's key for its next draw: uint32 [N, 2]."""
        pairs = [
            row.key(drawn[place]) for place, row in zip(self.places, self.rows, strict=True)
        ]
        return mx.array(pairs, dtype=mx.uint32)


class _Pick:
    """Ids [N] from logits [N, V]."""

    def __call__(self, group: _Group, logits: mx.array, drawn: list[int]) -> mx.array:
        raise NotImplementedError


class _GreedyPick(_Pick):
    def __call__(self, group: _Group, logits: mx.array, drawn: list[int]) -> mx.array:
        # By logprobs in the model's dtype, as mlx-lm does: in bf16 their rounding makes ties
        # that plain logits do not have, and the greedy text must equal mlx-lm's.
        return mx.argmax(logits - mx.logsumexp(logits, axis=-1, keepdims=True), axis=-1)


class _PlainPick(_Pick):
    def __call__(self, group: _Group, logits: mx.array, drawn: list[int]) -> mx.array:
        return _draw(logits.astype(mx.float32) * group.inverse_temperature, group.keys(drawn))


class _CutPick(_Pick):
    def __call__(self, group: _Group, logits: mx.array, drawn: list[int]) -> mx.array:
        wide = logits.astype(mx.float32)
        order = mx.argsort(-wide, axis=-1)
        logprobs = mx.take_along_axis(wide, order, axis=-1)
        logprobs = logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)
        probabilities = mx.exp(logprobs)
        above = mx.cumsum(probabilities, axis=-1, inclusive=False)
        kept = above < group.top_p
        kept = mx.logical_and(kept, logprobs >= logprobs[:, :1] + group.min_logprob)
        keys = group.keys(drawn)
        rank = mx.arange(logits.shape[-1])[None]
        if group.xtc is not None:
            excluded = _top_choices(mx.where(kept, probabilities, 0.0), group.xtc, keys)
            kept, rank = mx.logical_and(kept, rank >= excluded), rank - excluded
        # What is kept is one run of the order, so the k likeliest of it are its first k.
        kept = mx.logical_and(kept, rank < group.top_k)
        scaled = mx.where(kept, logprobs * group.inverse_temperature, -mx.inf)
        place = _draw(scaled, keys)
        return mx.take_along_axis(order, place[:, None], axis=-1)[:, 0]


_greedy, _plain, _cut = _GreedyPick(), _PlainPick(), _CutPick()


def _top_choices(
    probabilities: mx.array, xtc: tuple[mx.array, mx.array], keys: mx.array
) -> mx.array:
    """XTC (text-generation-webui#6335): how many of the likeliest [N, 1] are left out, by a row's
    chance all above the threshold but the least likely of them. ``probabilities`` are sorted,
    0 where cut; mlx-lm flips one coin for the whole batch, here each row flips its own."""
    probability, threshold = xtc
    coins = mx.vmap(lambda key: mx.random.uniform(key=key))(
        keys ^ mx.array(0x5BF03635, mx.uint32)
    )
    left = mx.sum(probabilities, axis=-1, keepdims=True)
    above = mx.sum(probabilities > threshold * left, axis=-1, keepdims=True)
    return mx.where(coins[:, None] < probability, mx.maximum(above - 1, 0), 0)


def _draw(scaled: mx.array, keys: mx.array) -> mx.array:
    """A draw from softmax(scaled) [N, V], each row by its own key (the Gumbel-max trick)."""
    size = scaled.shape[-1]
    noise = mx.vmap(lambda key: mx.random.gumbel(shape=(size,), key=key))(keys)
    return mx.argmax(scaled + noise, axis=-1)


def _cuts(row: Row) -> bool:
    request = row.prompt.request
    return bool(
        0 < request.top_p < 1 or request.min_p or request.top_k or request.xtc_probability
    )


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
