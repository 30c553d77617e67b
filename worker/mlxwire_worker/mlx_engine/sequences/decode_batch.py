"""Decodes rows together: one forward pass per step for all of them.

Theory of operation. The batch is pipelined by one step. `_next` holds the tokens that the device is
still computing. `step` first sends the following forward pass, which takes those tokens as lazy
input, and only then reads them; so the device works while Python handles the last tokens. A row's
token is therefore returned one call after its forward pass was sent, and a row that has just
ended has one pass too many on its way. That pass is left out if every row reaches `max_tokens`.

Invariants:
- ``rows``, the batch axis of ``_layers``, the sampler's rows and ``_next`` have the same order.
- ``row.held`` counts the tokens that the row's cache holds once all passes that were sent are
  computed. After `step` these are all tokens of the row, or, if no further pass was sent, all but
  the newest.
- A single row has plain caches, several rows have batched ones: `join` and `drop` convert.
- `join` computes the first token of new rows from their last prompt token, before they are added.

Order in `join`: forward pass of the new rows; send it; merge caches; extend rows, sampler and
`_next`. Order in `drop`: rows; caches; sampler; `_next`.

Threads: the engine's thread only.

Hazards and what went wrong before:
- An exception in `step` may leave caches half written. The caller drops the batch then
  (`Runner._recover`); no method tries to repair it.
- Lengths come from ``row.held``. Reading them from the device stalls the pipeline (`cache.kv`).
- The left paddings of all layers but the first were never evaluated. Each join and leave added
  about ten operations to a graph that lived as long as the batch: 18 KB per request in a storm.
- MLX keeps freed buffers for reuse. `mx.clear_cache` every ``CLEAR_CACHE_STEPS`` steps returns
  those that no longer fit.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import mlx.core as mx

from ..adapters.row_model import RowModel
from ..cache import kv
from ..constraints.masks import mask_of
from ..models.soundness import NoNumbers
from .rows import Row, adapters_of, keys_of
from .sampling import BatchSampler, Choice

CLEAR_CACHE_STEPS = 512
"""Steps between two calls of `mx.clear_cache`."""


class Token(NamedTuple):
    """One row's next token.

    ``logprob`` is natural, and ``top`` lists (id, log-probability), likeliest first; both are None
    unless the request asked for them.
    """

    row: Row
    token_id: int
    logprob: float | None
    top: list[tuple[int, float]] | None


class DecodeBatch:
    """The decoding rows with their caches, their sampler and the step that is under way."""

    def __init__(self, model: RowModel) -> None:
        self._model = model
        self.rows: list[Row] = []
        self._layers: kv.Layers = []
        self._sampler = BatchSampler([])
        self._next: Choice
        self._steps = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the rows' caches."""
        return kv.nbytes(self._layers)

    def join(self, rows: list[Row], layers: kv.Layers) -> None:
        """Add rows whose caches hold all prompt tokens but the last.

        ``layers`` are plain caches for one row, batched caches for several.
        """
        sampler = BatchSampler(rows)
        last = mx.array([row.tokens[-1] for row in rows])
        logits = self._model(last[:, None], adapters_of(rows), layers)[:, -1, :]
        choice = sampler.choose(logits, mask=mask_of(rows, None, logits.shape[-1]))
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
        """Send the next forward pass, and return every row's token of the pass before it.

        Raises: NoNumbers if the logits of a row are NaN or infinity.
        """
        current = self._next
        if any(len(row.generated) + 1 < max(row.prompt.max_tokens, 1) for row in self.rows):
            kv.share_offsets(self._layers)
            adapters = adapters_of(self.rows)
            logits = self._model(current.tokens[:, None], adapters, self._layers)[:, -1, :]
            mask = self._mask(logits, current) if self._constrained else None
            self._next = self._sampler.choose(logits, current.tokens, mask)
            mx.async_eval(self._next.arrays())
            for row in self.rows:
                row.held += 1
        tokens = self._read(current)
        self._steps += 1
        if self._steps % CLEAR_CACHE_STEPS == 0:
            mx.clear_cache()
        return tokens

    @property
    def _constrained(self) -> bool:
        return any(row.prompt.constraint is not None for row in self.rows)

    def _mask(self, logits: mx.array, current: Choice) -> mx.array | None:
        """Make the masks of the pass that was sent, while the device computes its logits."""
        mx.async_eval(logits)
        newest: Any = current.tokens.tolist()
        return mask_of(self.rows, newest, logits.shape[-1])

    def take_out(self, row: Row) -> tuple[list[int], kv.Layers]:
        """Return the keys of the tokens that a row's cache holds, and a cache of them; keep the batch."""
        place = self.rows.index(row)
        layers = self._layers
        if len(self.rows) > 1:
            layers = kv.extract_row(layers, place, row.held)
        return keys_of(row.prompt, (row.prompt.ids + row.generated)[: row.held]), layers

    def drop(self, rows: list[Row]) -> None:
        """Remove rows from the batch; the other rows' tokens do not change."""
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
        """Remove all rows and their caches."""
        self.rows, self._layers = [], []
        self._sampler = BatchSampler(
            []
        )  # the old one refers to its rows, and so to their adapters

    def _read(self, choice: Choice) -> list[Token]:
        ids: Any = choice.tokens.tolist()
        if choice.unsound(ids):
            raise NoNumbers
        for row, token_id in zip(self.rows, ids, strict=True):
            row.generated.append(token_id)
            if row.prompt.constraint is not None:
                row.prompt.constraint.follow(row.generated)
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
    params = row.prompt.params
    if not params.logprobs:
        return Token(row, token_id, None, None)
    wanted = top[: params.top_logprobs] if params.top_logprobs else None
    return Token(row, token_id, logprob, wanted)


def _joined(first: Choice, second: Choice) -> Choice:
    """Concatenate the choices of two batches; fill in what only one of them computed."""
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
        mx.concatenate([first.evidence, second.evidence]),
        both(first.logprobs, second.logprobs, 0.0),
        both(first.top_ids, second.top_ids, 0),
        both(first.top_logprobs, second.top_logprobs, -mx.inf),
    )
