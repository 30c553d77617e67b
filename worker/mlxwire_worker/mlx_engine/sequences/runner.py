"""Every sequence's way through the model: reuse, prefill in slices, decode together.

One `step` is a decode step of the batch and at most one slice of prefill. Whatever raises is
pinned on one row: after a failed step each survivor is computed again, alone at first, from its
own token log.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...engine import Failed, Prefilled, Prompt, Sampled, StepResult
from ..cache import kv
from ..cache.memory_guard import MemoryGuard
from ..cache.prefix_tree import common_prefix
from ..cache.prompt_cache import PromptCache, begin_alike
from .chunks import ChunkSize
from .decode_batch import DecodeBatch, Token
from .rows import Row

GROUP_ROWS = 8
"""Short prompts that one slice computes together."""
SHARE_TOKENS = 32
"""A beginning that a prompt has in common with one under way is worth waiting for from here."""


class Runner:
    """The rows of one model. Lives on the engine's thread."""

    def __init__(
        self,
        model: Any,
        policy: kv.CachePolicy,
        cache: PromptCache,
        chunk: ChunkSize,
        guard: MemoryGuard | None = None,
    ) -> None:
        self._model = model
        self._policy = policy
        self._cache = cache
        self._chunk = chunk
        self._guard = guard
        self._rows: dict[Prompt, Row] = {}
        self._waiting: deque[Row] = deque()
        self._batch = DecodeBatch(model)
        self._long_turn = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the caches of all rows."""
        waiting = sum(kv.nbytes(row.layers) for row in self._waiting if row.layers)
        return waiting + self._batch.nbytes

    @property
    def decoding(self) -> bool:
        """Whether a row is past its prefill."""
        return bool(self._batch)

    def has_room(self, prompt: Prompt) -> bool:
        """Whether memory allows one more row; always, where none runs."""
        if self._guard is None or not self._guard.limit:
            return True
        lengths = [len(p.ids) + p.max_tokens for p in (*self._rows, prompt)]
        return self._guard.has_room(lengths, self.nbytes, self._cache) or not self._rows

    def add(self, prompt: Prompt) -> None:
        """Begin a sequence."""
        row = Row.of(prompt)
        self._rows[prompt] = row
        self._waiting.append(row)

    def remove(self, prompts: Iterable[Prompt]) -> None:
        """Drop sequences wherever they are; what they computed stays reusable."""
        rows = [row for prompt in prompts if (row := self._rows.pop(prompt, None))]
        if not rows:
            return
        with mx.stream(generation_stream):
            decoding = [row for row in rows if row in self._batch.rows]
            for row in decoding:
                if _may_share(row):
                    self._keep(*self._batch.take_out(row))
            self._batch.drop(decoding)
            for row in rows:
                if row in self._waiting:
                    self._waiting.remove(row)
                    if row.layers is not None and _may_share(row):
                        self._keep(row.tokens[: row.held], row.layers)

    def step(self) -> list[StepResult]:
        """A decode step, then a slice of prefill; the batch's tokens come first."""
        with mx.stream(generation_stream):
            results: list[StepResult] = []
            if self._batch:
                results += self._decode()
            if self._waiting:
                results += self._prefill()
            return results

    # -- decode --------------------------------------------------------------------------

    def _decode(self) -> list[StepResult]:
        try:
            return [_sampled(token) for token in self._batch.step()]
        except Exception as error:
            return self._recover(self._batch.rows, error)

    def _recover(self, rows: list[Row], error: Exception) -> list[StepResult]:
        """A step of ``rows`` raised. Alone, the row is at fault; else each is tried alone."""
        rows = list(rows)
        self._batch.clear()
        if len(rows) == 1:
            del self._rows[rows[0].prompt]
            return [Failed(rows[0].prompt, error)]
        for row in reversed(rows):
            self._begin_again(row)
            self._waiting.appendleft(row)
        return []

    def _begin_again(self, row: Row) -> None:
        """From its own token log; the draws go on where they were."""
        row.tokens = row.prompt.ids + row.generated
        row.layers, row.held, row.alone = None, 0, True

    # -- prefill -------------------------------------------------------------------------

    def _prefill(self) -> list[StepResult]:
        row = self._next_row()
        if row is None:
            return []
        group = [row]
        try:
            if row.layers is None:
                self._fetch(row)
            if row.left > self._chunk.tokens:
                return self._slice(row)
            if row.alone:
                return self._try_alone(row)
            self._widen(group)
            return self._finish(group)
        except Exception as error:
            return self._fail(group, error)

    def _next_row(self) -> Row | None:
        """First come first served, but a long prompt lets short ones pass between its slices."""
        first = next((row for row in self._waiting if not self._waits_for_shared(row)), None)
        if first is None or first.left <= self._chunk.tokens or first.alone:
            return first
        self._long_turn = not self._long_turn
        if self._long_turn:
            return first
        return next(
            (
                row
                for row in self._waiting
                if row.left <= self._chunk.tokens and not self._waits_for_shared(row)
            ),
            first,
        )

    def _waits_for_shared(self, row: Row) -> bool:
        """Whether an earlier prompt is computing a beginning that this one can then reuse."""
        if row.layers is not None or not _may_share(row) or not self._policy.trimmable:
            return False
        held: int | None = None
        for other in self._waiting:
            if other is row:
                return False
            if other.alone or not _may_share(other):
                continue
            if begin_alike(row.tokens, other.tokens, SHARE_TOKENS):
                held = self._cache.held_by(row.tokens) if held is None else held
                if begin_alike(row.tokens, other.tokens, held + 1):
                    return True
        return False

    def _fetch(self, row: Row) -> None:
        """Begin a row with what can be reused: of the cache, or of a row that is decoding."""
        prompt = row.prompt
        if not _may_share(row):
            row.layers = self._policy.make()
            prompt.cache_miss = "disabled"
            return
        if self._policy.trimmable:
            self._share_decoding(row)
        reuse = self._cache.fetch(row.tokens)
        row.layers = reuse.layers if reuse.layers is not None else self._policy.make()
        row.held = reuse.held
        if not row.generated:
            prompt.cached_tokens, prompt.cache_miss = reuse.held, reuse.miss

    def _share_decoding(self, row: Row) -> None:
        """Put into the cache what a decoding row holds, if this one shares more of it."""
        best, most = None, max(self._cache.held_by(row.tokens), SHARE_TOKENS - 1)
        for other in self._batch.rows:
            if _may_share(other) and begin_alike(row.tokens, other.prompt.ids, most + 1):
                best = other
                most = common_prefix(row.tokens[:-1], other.prompt.ids[:-1])
        if best is not None:
            tokens, layers = self._batch.take_out(best)
            layers = kv.snapshot(layers)
            if kv.trim(layers, len(tokens), len(best.prompt.ids)):
                self._keep(tokens[: len(best.prompt.ids)], layers)

    def _slice(self, row: Row) -> list[StepResult]:
        """One chunk of a long prompt, alone."""
        assert row.layers is not None
        started = time.perf_counter()
        size = min(self._chunk.tokens, row.left)
        ids = mx.array(row.tokens[row.held : row.held + size])
        self._model(ids[None], cache=row.layers)
        mx.eval(kv.states(row.layers))
        mx.clear_cache()
        row.held += size
        self._chunk.learn(size, time.perf_counter() - started)
        return [Prefilled(row.prompt, row.held)]

    def _widen(self, group: list[Row]) -> None:
        """Short prompts that fit one slice with the group's first, in order of arrival."""
        if not self._policy.batchable:
            return
        (first,) = group
        longest = first.left
        for row in self._waiting:
            if len(group) == GROUP_ROWS:
                return
            if row is first or row.alone or self._waits_for_shared(row):
                continue
            if row.layers is None:
                self._fetch(row)
            widest = max(longest, row.left)
            if widest * (len(group) + 1) <= max(self._chunk.tokens, 64):
                group.append(row)
                longest = widest

    def _finish(self, rows: list[Row]) -> list[StepResult]:
        """The rest of some prompts, and into the batch."""
        started = time.perf_counter()
        size = sum(row.left for row in rows)
        layers = self._compute_rest(rows)
        for row in rows:
            row.held += row.left
        self._save_boundary(rows, layers)
        self._batch.join(rows, layers)  # may raise: until then the rows are still waiting
        for row in rows:
            self._waiting.remove(row)
        self._chunk.learn(size, time.perf_counter() - started)
        return [Prefilled(row.prompt, row.held) for row in rows]

    def _compute_rest(self, rows: list[Row]) -> kv.Layers:
        """All but the last token of each prompt: plain caches for one row, batched for more."""
        if len(rows) == 1:
            (row,) = rows
            assert row.layers is not None
            layers = row.layers
            if row.left:
                ids = mx.array(row.tokens[row.held : row.held + row.left])
                self._model(ids[None], cache=layers)
                mx.eval(kv.states(layers))
            return layers
        layers = kv.merge([row.layers for row in rows if row.layers is not None])
        lengths = [row.left for row in rows]
        longest = max(lengths)
        if not longest:
            return layers
        padding = [longest - length for length in lengths]
        ids = mx.array(
            [
                row.tokens[row.held : row.held + row.left] + [0] * pad
                for row, pad in zip(rows, padding, strict=True)
            ]
        )
        for layer in layers if any(padding) else []:
            layer.prepare(lengths=lengths, right_padding=padding)
        self._model(ids, cache=layers)
        for layer in layers if any(padding) else []:
            layer.finalize()
        mx.eval(kv.states(layers))
        return layers

    def _save_boundary(self, rows: list[Row], layers: kv.Layers) -> None:
        """Keep a prompt's own end where no later trim can bring it back, or others wait for it."""
        for place, row in enumerate(rows):
            if not _may_share(row) or row.held < 1:
                continue
            if self._policy.trimmable and not self._is_awaited(row):
                continue
            own = layers if len(rows) == 1 else kv.extract_row(layers, place, row.held)
            self._keep(row.tokens[: row.held], kv.snapshot(own))

    def _is_awaited(self, row: Row) -> bool:
        return any(
            other.layers is None
            and _may_share(other)
            and begin_alike(row.tokens, other.tokens, SHARE_TOKENS)
            for other in self._waiting
            if other is not row
        )

    def _try_alone(self, row: Row) -> list[StepResult]:
        """A row that a failed step came from: it may only join the others once it has stepped."""
        layers = self._compute_rest([row])
        row.held += row.left
        trial = DecodeBatch(self._model)
        trial.join([row], layers)
        tokens = trial.step()
        # The trial's token counts; the row is computed once more, to join the others.
        self._begin_again(row)
        row.alone = False
        return [_sampled(token) for token in tokens]

    def _fail(self, group: list[Row], error: Exception) -> list[StepResult]:
        """A slice raised. Of a group each is tried alone; one by itself is at fault."""
        if len(group) > 1:
            for row in group:
                self._begin_again(row)
            return []
        (row,) = group
        self._rows.pop(row.prompt, None)
        self._waiting.remove(row)
        return [Failed(row.prompt, error)]

    def _keep(self, tokens: list[int], layers: kv.Layers) -> None:
        """Into the prompt cache, evaluated: a lazy copy would pin the whole batch's buffers."""
        if self._cache.store(tokens, layers):
            mx.async_eval(kv.states(layers))
        if self._guard is not None:
            self._guard.trim(self._cache)


def _may_share(row: Row) -> bool:
    return row.prompt.request.cache


def _sampled(token: Token) -> Sampled:
    return Sampled(token.row.prompt, token.token_id, token.logprob, token.top)
