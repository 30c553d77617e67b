"""Takes each sequence through the model: reuse, prefill in slices, decode with the others.

Theory of operation. A row (`rows.Row`) is one sequence. It is in exactly one of two places: in
``_waiting`` until its prompt is computed, then in the batch (`decode_batch`). ``_rows`` has every
row by its prompt. One `step` is one decode step of the whole batch and then at most one slice of
prefill, so a cancel or a new request waits for one of each at most.

Order of events for a row:
1. `add` appends it to ``_waiting``. Nothing is computed.
2. `_next_row` chooses a row: the oldest, except that a row waits while an older one computes a
   prefix that both share, and that short prompts pass between two slices of a long one.
3. `Sharing.fetch` gives it caches, filled as far as an earlier sequence allows.
4. A long prompt is computed in slices (`ChunkSize.slice_of`), alone, each in pieces of
   some layers (`prefill.Slice`): a step does a piece. If caches can't be cut, a slice ends at each
   of the row's ``stops``, where `Sharing` keeps a copy. The last part, or a whole short prompt, is
   computed together with other short ones, up to ``GROUP_ROWS`` rows.
5. `DecodeBatch.join` decodes its last prompt token and adds it to the batch. Until `join` returns
   the row is still in ``_waiting``, so an exception leaves it where it can start again.
6. Each step samples one token. The scheduler decides when a row has ended, and calls `remove`.

Recovery. A step of a batch that raises says nothing about which row is at fault, and the caches
of all rows may be half written. So the batch is dropped, and each row starts again from its own
token log (``prompt.ids + generated``), at the front of the queue and marked ``alone``. Such a
row first takes one step in a batch of its own (`_try_alone`). If that raises, the row fails; if
not, its token counts, and the row joins the others again. Seeds depend on the number of tokens
drawn (`Row.key`), so a row draws the same tokens as without the failure.

Threads: the engine's thread only, inside `generation_stream`. Lazy arrays can't be evaluated by
another thread (docs/engine-notes.md §1).

Hazards and what went wrong before:
- mlx-lm's `BatchGenerator` after an exception decodes the same token again, loses rows that joined
  in the same call, or raises for ever (docs/engine-notes.md §3). Hence the recovery above.
- One slice of 8 x 2,048 tokens, mlx-lm's default, makes a cancel wait for seconds. Hence `ChunkSize`.
- The lookups of ``_waiting`` are quadratic; so `begin_alike` compares one token first.
- An exception while a removed row's cache was kept left the row in the batch, without an owner: so a
  cache that can't be kept is let go, and a removal never raises.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...process.stdio import log
from ...prompts import Failed, Prefilled, Prompt, Sampled, StepResult
from ..adapters.row_model import RowModel
from ..adapters.slots import AdapterSlots
from ..cache import kv
from ..cache.memory_guard import MemoryGuard
from ..cache.policy import CachePolicy
from ..cache.prompt_cache import PromptCache
from ..mlx_patches.allocator import give_free_memory_back
from ..models.soundness import NoNumbers, blamed
from .decode_batch import DecodeBatch, Token
from .prefill import ChunkSize, Sharing, Slice, compute_rest, fit_together, may_share
from .rows import Row

GROUP_ROWS = 8
"""The most short prompts that one slice of prefill computes together."""


class Runner:
    """The running sequences of one model. Lives on the engine's thread."""

    def __init__(
        self,
        model: Any,
        policy: CachePolicy,
        cache: PromptCache,
        chunk: ChunkSize,
        guard: MemoryGuard | None = None,
        adapters: AdapterSlots | None = None,
    ) -> None:
        self._model = RowModel(model, adapters)
        self._policy = policy
        self._cache = cache
        self._chunk = chunk
        self._guard = guard
        self._sharing = Sharing(policy, cache, guard)
        self._rows: dict[Prompt, Row] = {}
        self._waiting: deque[Row] = deque()
        self._batch = DecodeBatch(self._model)
        self._long_turn = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows' caches."""
        waiting = sum(kv.nbytes(row.layers) for row in self._waiting if row.layers)
        return waiting + self._batch.nbytes

    @property
    def decoding(self) -> bool:
        """Return True if a row is past its prefill."""
        return bool(self._batch)

    def has_room(self, prompt: Prompt) -> bool:
        """Return True if memory allows one more row, and always if no row runs."""
        if self._guard is None or not self._guard.limit:
            return True
        lengths = [len(p.ids) + p.max_tokens for p in (*self._rows, prompt)]
        return self._guard.has_room(lengths, self.nbytes, self._cache) or not self._rows

    def add(self, prompt: Prompt) -> None:
        """Append a sequence to the waiting ones; `step` computes it."""
        row = Row.of(prompt)
        self._rows[prompt] = row
        self._waiting.append(row)

    def remove(self, prompts: Iterable[Prompt]) -> None:
        """Remove sequences, waiting or decoding; keep what they computed for later prompts."""
        rows = [row for prompt in prompts if (row := self._rows.pop(prompt, None))]
        if not rows:
            return
        with mx.stream(generation_stream):
            decoding = [row for row in rows if row in self._batch.rows]
            for row in rows:
                if row in self._waiting:
                    self._waiting.remove(row)
                self._keep(row, decodes=row in decoding)
            try:
                self._batch.drop(decoding)
            except Exception as error:  # half dropped: the others start again
                log(f"dropping rows of a batch failed: {type(error).__name__}")
                self._restart([row for row in self._batch.rows if row not in decoding])
        give_free_memory_back()

    def step(self) -> list[StepResult]:
        """Take one decode step, then one slice of prefill; the batch's tokens come first.

        An exception of the model or a sampler becomes a `Failed` for the row at fault.
        """
        with mx.stream(generation_stream):
            results = self._decode() if self._batch else []
            if self._waiting:
                results += self._prefill()
            return results

    def _keep(self, row: Row, *, decodes: bool) -> None:
        """Keep what a row has computed; if that fails, a later prompt computes it again."""
        if not may_share(row):
            return
        try:
            if decodes:
                self._sharing.keep(*self._batch.take_out(row), row.prompt.boundaries)
                return
            layers = row.layers if row.slice is None else row.slice.before
            if layers is not None:
                self._sharing.keep(row.keys[: row.held], layers)
        except Exception as error:
            log(f"keeping a prompt's cache failed: {type(error).__name__}")

    # -- decode and recovery -------------------------------------------------------------

    def _decode(self) -> list[StepResult]:
        try:
            return [_sampled(token) for token in self._batch.step()]
        except Exception as error:
            return self._recover(self._batch.rows, error)

    def _recover(self, rows: list[Row], error: Exception) -> list[StepResult]:
        """Drop the batch after a failed step; fail a single row, let several start again."""
        if isinstance(error, NoNumbers):
            self._cache.clear()  # what its row or a padded neighbour stored may be NaN too
        if len(rows) > 1:
            self._restart(rows)
            return []
        (row,) = rows
        self._batch.clear()
        del self._rows[row.prompt]
        return [Failed(row.prompt, blamed(error, row.prompt.adapter))]

    def _restart(self, rows: list[Row]) -> None:
        """Drop the batch and let rows of it start again, each alone, before those that wait."""
        self._batch.clear()
        for row in reversed(rows):
            row.begin_again()
            self._waiting.appendleft(row)

    def _try_alone(self, row: Row) -> list[StepResult]:
        """Take one step of a row in a batch of its own, to find out if it is at fault."""
        layers = compute_rest(self._model, [row])
        row.held += row.left
        trial = DecodeBatch(self._model)
        trial.join([row], layers)
        tokens = trial.step()
        # The token of the trial counts; the row is computed once more, to join the others.
        row.begin_again()
        row.alone = False
        return [_sampled(token) for token in tokens]

    def _fail(self, group: list[Row], error: Exception) -> list[StepResult]:
        """Fail the one row whose slice raised; let the rows of a group start again alone."""
        if len(group) > 1:
            for row in group:
                row.begin_again()
            return []
        (row,) = group
        self._rows.pop(row.prompt, None)
        self._waiting.remove(row)
        return [Failed(row.prompt, blamed(error, row.prompt.adapter))]

    # -- prefill -------------------------------------------------------------------------

    def _prefill(self) -> list[StepResult]:
        row = self._next_row()
        if row is None:
            return []
        group = [row]
        try:
            if row.layers is None:
                self._sharing.fetch(row, self._batch)
            if row.slice is not None or row.stops or row.left > self._chunk.whole_tokens:
                return self._slice(row)
            if row.alone:
                return self._try_alone(row)
            self._widen(group)
            return self._finish(group)
        except Exception as error:
            return self._fail(group, error)

    def _next_row(self) -> Row | None:
        """Choose the oldest row; between two slices of a long prompt, the oldest short one."""
        first = next((row for row in self._waiting if not self._waits(row)), None)
        if first is None or first.left <= self._chunk.tokens or first.alone:
            return first
        self._long_turn = not self._long_turn
        if self._long_turn:
            return first
        return next(
            (
                row
                for row in self._waiting
                if row.left <= self._chunk.tokens and not self._waits(row)
            ),
            first,
        )

    def _waits(self, row: Row) -> bool:
        return self._sharing.waits(row, self._waiting)

    def _slice(self, row: Row) -> list[StepResult]:
        """Compute a slice of a prompt up to its next stop, alone, or a piece of it."""
        if row.slice is None:
            row.slice = Slice(self._model, row, self._chunk.slice_of(row))
        computed = row.slice
        if not computed.advance(self._chunk.seconds):
            return []
        row.slice = None
        mx.clear_cache()
        row.held += computed.size
        self._chunk.learn(computed.size, computed.seconds)
        self._sharing.keep_stop(row)
        return [Prefilled(row.prompt, row.held)]

    def _widen(self, group: list[Row]) -> None:
        """Add short prompts that fit into one slice, and without padding if the model takes none."""
        if not self._policy.batchable:
            return
        (first,) = group
        longest = first.left
        for row in self._waiting:
            if len(group) == GROUP_ROWS:
                return
            if row is first or row.alone or row.slice is not None or self._waits(row):
                continue
            if row.layers is None:
                self._sharing.fetch(row, self._batch)
            if row.stops or not fit_together(self._policy, first, row):
                continue
            widest = max(longest, row.left)
            if widest * (len(group) + 1) <= max(self._chunk.whole_tokens, 64):
                group.append(row)
                longest = widest

    def _finish(self, rows: list[Row]) -> list[StepResult]:
        """Compute the rest of some prompts and move their rows into the batch."""
        started = time.perf_counter()
        size = sum(row.left for row in rows)
        layers = compute_rest(self._model, rows)
        for row in rows:
            row.held += row.left
        self._sharing.save_boundary(rows, layers, self._waiting)
        self._batch.join(rows, layers)  # may raise: until then the rows are still waiting
        for row in rows:
            self._waiting.remove(row)
        self._chunk.learn(size, time.perf_counter() - started)
        return [Prefilled(row.prompt, row.held) for row in rows]


def _sampled(token: Token) -> Sampled:
    return Sampled(token.row.prompt, token.token_id, token.logprob, token.top)
