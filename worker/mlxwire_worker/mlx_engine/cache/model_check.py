"""Finds out on the model itself what can be done with its sequences, and keeps the verdict.

Theory of operation. Two short prompts of unlike length, A and B, go through the model in one pass
each, alone. Each operation must then give the same logits: B in two slices; both in one batch from
caches of unlike length, one of which leaves and joins again; both prefilled together with padding,
from empty caches and after a shared beginning; A's cache, cut, with B's rest. An operation that
raises, or differs, is not used. Slices that differ mean that the model does not answer rightly even
alone: it is refused.

Differences are root mean squares relative to the spread of the logits. Wrong states gave 5 % and
more; rounding gives 1e-6 in float32 and about 1 % in bfloat16, more with a router that chooses
other experts. Quantized keys and values count as bfloat16: on an H200 4 bits in float32 gave over 5 %. So the limit is a few times what the slices differ by, at least ``_LEAST``.

A model of many layers would need a second for all this. Therefore the first layers are checked alone,
as many as have all kinds, and the whole model only where the budget allows it. A model whose layers
can't be taken away is checked whole, past the budget: no class says what it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from mlxwire_protocol import WireError

from ...process.kept_findings import keep_finding, read_finding
from ...process.kernel_folder import folder_of_failed_kernel
from ..models.model_files import unsupported
from . import kv
from .packed import PackedKVCache, packs
from .trimming import trim
from .verdict import Verdict

REVISION = "6"
"""Raise it with each change of the check: a verdict of an earlier one is not used."""

Make = Callable[[], kv.Layers]

_FOLDER = "verdicts"
"""Holds the verdicts, inside the folder that a caller names."""

_SHARED, _SHORT, _LONG, _AFTER = 2, 4, 8, 3
"""Tokens that A and B share, of A, of B, and after each of them."""
_LEAST, _LEAST_FLOAT32 = 0.03, 1e-3
_NOISE = 4.0
_REFUSED, _REFUSED_FLOAT32 = 0.5, 0.05
_BATCHED = (KVCache, PackedKVCache, RotatingKVCache, ArraysCache, CacheList)
"""Classes whose batches were held against the model alone over long sequences and slid windows."""
_SHARE, _SECONDS = 0.05, 0.05
"""The budget: a share of the load's time so far, or this long."""


def check_model(
    model: Any, make: Make, *, vocabulary: int, elapsed: float, folder: Path | None, key: str
) -> Verdict:
    """Return what was found at an earlier load, or check the model now and keep the verdict.

    ``make`` creates caches for one sequence; ``elapsed`` are the seconds of the load so far. Raises: WireError ``unsupported_model``.
    """
    kept = folder / _FOLDER if folder is not None else None
    if kept is not None and (known := read_finding(kept, key, Verdict)) is not None:
        return known
    with mx.stream(generation_stream):
        found, lasts = _check(model, make, vocabulary, max(elapsed * _SHARE, _SECONDS))
    if kept is not None and lasts:
        keep_finding(kept, key, found)
    return found


def _check(model: Any, make: Make, vocabulary: int, budget: float) -> tuple[Verdict, bool]:
    """Return the verdict, and True if it is one for later loads too."""
    started = time.perf_counter()
    with suppress(Exception), first_layers(model, make) as share:  # layers may share state
        if share:
            short = _Trial(model, make, vocabulary)
            found = _judged(short)
            spent = time.perf_counter() - started
            if found is not None and not short.broke and spent / share > budget - spent:
                return found, True
    trial = _first_trial(model, make, vocabulary)
    found = _judged(trial)
    if found is None:
        raise _unsupported("depends on how its prompt is cut into slices", "slices_differ")
    return found, not trial.broke


def _first_trial(model: Any, make: Make, vocabulary: int) -> _Trial:
    """Compute the answers alone. Raises: WireError ``unsupported_model`` if that fails."""
    try:
        return _Trial(model, make, vocabulary)
    except MemoryError:
        raise
    except Exception as error:  # the architectures raise whatever their numbers lead to
        if folder_of_failed_kernel(error) is not None:
            raise
        told = f"can't be computed on this device ({type(error).__name__}: {str(error)[:200]})"
        raise _unsupported(told, "fails_alone") from error


def _unsupported(told: str, reason: str) -> WireError:
    return unsupported(
        reason,
        f"this model's answer {told}, so this worker can't serve it with the installed mlx-lm; "
        "load another model",
    )


def _judged(trial: _Trial) -> Verdict | None:
    """Return the verdict on a model; None if it answers wrongly even alone, in slices."""
    slices = trial.difference(trial.slices)
    if slices is None or slices > trial.refused:
        return None
    limit = max(trial.least, _NOISE * slices)
    hidden = _attends_by_blocks(trial.model) or not _batches_as_known(trial.make())

    def right(operation: Callable[[], Iterator[mx.array]]) -> bool:
        difference = trial.difference(operation)
        return difference is not None and difference <= limit

    together = not hidden and right(trial.together)
    padded = together and right(trial.padded) and right(trial.padded_after_beginning)
    return Verdict(together=together, padded=padded, cut=right(trial.cut))


def _attends_by_blocks(model: Any) -> bool:
    """Return True if attention chooses blocks of a cache's places, which padding would shift.

    Short prompts can't show that: they fit into the blocks that are always chosen.
    """
    return any(
        isinstance(getattr(module, name), int) and getattr(module, name) > 1
        for module in model.modules()
        for name in vars(module)
        if name.endswith("block_size")
    )


def _batches_as_known(layers: kv.Layers) -> bool:
    """Return True if every cache is of a class whose batches are known past the check's tokens.

    A new class, or a subclass, may go wrong only once its buffer grows or its window slides, which
    the few tokens here do not reach. Its sequences run alone.
    """

    def known(layer: Any) -> bool:
        if type(layer) is CacheList:
            return all(map(known, layer.caches))
        return type(layer) in _BATCHED

    return all(map(known, layers))


class _Trial:
    """A model's logits for A and B alone, and the same logits by each operation.

    Operations yield differences [.., V] that should be zero. ``broke`` tells that one failed as it
    also does for want of memory, which says nothing about the next load.
    """

    def __init__(self, model: Any, make: Make, vocabulary: int) -> None:
        self.model, self.make = model, make
        self.broke = False
        ids = [(place * 37 + 11) % vocabulary for place in range(_SHORT + _LONG + _AFTER)]
        self._after = ids[_SHORT + _LONG :]
        self._a = ids[:_SHORT]
        self._b = ids[:_SHARED] + ids[_SHORT : _SHORT + _LONG - _SHARED]
        self._cut_from = make()
        whole_a = self._pass(self._cut_from, [self._a + self._after])[0]
        alone_a, self._early = whole_a[len(self._a) - 1 :], whole_a[: _SHARED + 1]
        alone_b = self._pass(make(), [self._b + self._after])
        alone_b = alone_b[0, len(self._b) - 1 :]
        self._alone = mx.stack([alone_a, alone_b])
        spread = mx.sqrt(mx.mean(mx.square(self._alone - self._alone.mean(-1, keepdims=True))))
        mx.eval(self._alone, spread, self._early, kv.states(self._cut_from))
        self._spread = max(float(cast(float, spread.item())), 1e-12)
        exact = self._dtype == mx.float32 and not packs(self._cut_from)
        self.least = _LEAST_FLOAT32 if exact else _LEAST
        self.refused = _REFUSED_FLOAT32 if exact else _REFUSED

    def difference(self, operation: Callable[[], Iterator[mx.array]]) -> float | None:
        """Return an operation's largest difference relative to the spread; None if it raises."""
        try:
            differences = [mx.sqrt(mx.mean(mx.square(one))) for one in operation()]
            largest = cast(float, mx.max(mx.stack(differences)).item())
            return largest / self._spread
        except MemoryError:
            raise
        except Exception as error:  # a model or a cache raises whatever it does not expect
            if folder_of_failed_kernel(error) is not None:
                raise  # the load has it compiled again
            self.broke = self.broke or isinstance(error, RuntimeError)
            return None

    def slices(self) -> Iterator[mx.array]:
        """Compute B in two slices, then a token, then the tokens after it."""
        layers = self._filled(self._b[:3])
        self._pass(layers, [self._b[3:-1]])
        yield self._pass(layers, [self._b[-1:]])[0] - self._alone[1, :1]
        yield self._pass(layers, [self._after])[0] - self._alone[1, 1:]

    def together(self) -> Iterator[mx.array]:
        """Decode A and B in one batch; let A leave it, and join again behind B.

        First, two more rows have computed no token and one: a prompt may be that short.
        """
        none, one = self.make(), self._filled(self._a[:1])
        batch = kv.merge([self._filled(self._a[:-1]), self._filled(self._b[:-1]), none, one])
        decoded = self._decoded(batch, [self._a[-1], self._b[-1], *self._a[:2]])
        yield decoded[:2] - self._alone[:, 0]
        yield decoded[2:] - self._early[:2]
        gone = kv.extract_row(batch, 0, len(self._a))
        kv.keep_rows(batch, [1], [len(self._b)])
        batch = kv.extend(batch, kv.merge([kv.snapshot(gone)]))
        swapped = self._alone[::-1]
        yield self._decoded(batch, self._after[:1] * 2) - swapped[:, 1]
        yield self._decoded(gone, self._after[:1])[0] - self._alone[0, 1]

    def padded(self) -> Iterator[mx.array]:
        """Prefill A and B together, from empty caches."""
        return self._padded([self.make() for _ in range(2)], 0)

    def padded_after_beginning(self) -> Iterator[mx.array]:
        """Prefill the rests of A and B together, beside a row of their shared beginning alone."""
        first = self._filled(self._a[:_SHARED])
        return self._padded([kv.snapshot(first) for _ in range(3)], _SHARED)

    def cut(self) -> Iterator[mx.array]:
        """Cut A's cache to the beginning that it shares with B, and compute B's rest."""
        layers = kv.snapshot(self._cut_from)
        if not trim(layers, len(self._a) + len(self._after), _SHARED):
            return
        rest = self._b[_SHARED:]
        logits = self._pass(layers, [rest + self._after])[0, len(rest) - 1 :]
        yield logits - self._alone[1]

    def _padded(self, rows: list[kv.Layers], held: int) -> Iterator[mx.array]:
        """Prefill rows, then a token of each, then two at once, as a label's tokens.

        A third row has nothing to prefill: the token after what it holds is its prompt's last.
        """
        prompts = [self._a, self._b, self._a[: held + 1]][: len(rows)]
        rests = [prompt[held:-1] for prompt in prompts]
        lengths = [len(rest) for rest in rests]
        layers = kv.merge(rows)
        with kv.right_padding(layers, lengths, max(lengths)):
            self._pass(layers, kv.padded(rests, max(lengths)))
        decoded = self._decoded(layers, [prompt[-1] for prompt in prompts])
        yield decoded[:2] - self._alone[:, 0]
        if len(rows) > 2:
            yield decoded[2] - self._early[held]
        yield self._pass(layers, [self._after[:2]] * len(rows))[:2] - self._alone[:, 1:3]

    def _filled(self, ids: list[int]) -> kv.Layers:
        layers = self.make()
        self._pass(layers, [ids])
        return layers

    def _decoded(self, layers: kv.Layers, ids: list[int]) -> mx.array:
        return self._pass(layers, [[one] for one in ids])[:, -1]

    def _pass(self, layers: kv.Layers, ids: list[list[int]] | mx.array) -> mx.array:
        """Compute rows of ids into caches; return logits [B, T, V], float32 and lazy."""
        logits: mx.array = self.model(mx.array(ids), cache=layers)
        self._dtype = logits.dtype
        return logits.astype(mx.float32)


@contextmanager
def first_layers(model: Any, make: Make, more: int = 0) -> Iterator[float]:
    """Take all layers away but the first that have all kinds, and ``more``; yield their share.

    The share is 0, and no layer is away, if the model does not allow it.
    """
    layers, caches = model.layers, make()
    if not isinstance(layers, list) or len(layers) != len(caches):
        yield 0.0
        return
    kinds = [_kind(*pair) for pair in zip(layers, caches, strict=True)]
    count = max(kinds.index(kind) for kind in kinds) + 1 + more
    held = list(layers)
    del layers[count:]
    try:
        shortened = len(model.layers) == len(make()) == count < len(held)
        yield count / len(held) if shortened else 0.0
    finally:
        layers[:] = held


def _kind(layer: Any, cache: Any) -> tuple[Any, ...]:
    parts = [type(cache), getattr(cache, "max_size", None), type(layer)]
    return (*parts, *(type(module) for module in layer.modules()))
