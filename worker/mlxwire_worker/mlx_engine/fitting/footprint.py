"""Predicts the peak of memory for a number of sequences of a length, before any weight is read.

Theory of operation. The peak is that of N sequences at the end of their contexts. It comes at one of three
times: while the last sequence computes the last slice of its prompt, when its caches also exist as they
were before the slice; while it joins the others, when layers of old and new caches exist at once; or at
the end of the load, when the last weights exist both as stored and as computed. The prompt cache's
entries of ended sequences come on top, and are dropped if there is a limit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten

from ..cache.policy import CachePolicy
from ..cache.sizes import STEP_TOKENS, CacheSizes
from ..mlx_patches.exponentials import vectorize
from ..sequences.prefill import ChunkSize
from .lifetimes import most_bytes
from .tracing import trace_pass

TRACED_TOKENS = ChunkSize.SPLIT
"""The tokens of the passes that are recorded: on a CPU, those of a slice at the end of a context."""
LOGIT_COPIES = 3
FLOAT_BYTES = 4
LEAST_CONTEXT = 256
"""The shortest context, in tokens, that is worth a load."""


class PassCost(NamedTuple):
    """The bytes of a pass's intermediate results: for each token, and for each it attends to."""

    token: float = 0.0
    pair: float = 0.0

    def nbytes(self, tokens: int, context: int) -> float:
        """Return the bytes of a pass of ``tokens`` at the end of a context."""
        return tokens * (self.token + self.pair * context)


class Footprint(NamedTuple):
    """The figures that decide the memory of a model in one dtype, in bytes.

    ``load_bytes`` is the peak of its load. ``vocabulary`` is the number of logits of a token.
    """

    compute_dtype: str
    weight_bytes: int
    load_bytes: int
    sizes: CacheSizes
    cost: PassCost
    vocabulary: int

    def cache_bytes(self, context: int, slots: int) -> int:
        """Return the bytes of the caches of all sequences."""
        if slots > 1:  # a batch grows from any length, so up to a step is spare
            return slots * self.sizes.nbytes(context + STEP_TOKENS // 4)
        return self.sizes.nbytes(-(-context // STEP_TOKENS) * STEP_TOKENS)

    def slice_bytes(self, context: int) -> float:
        """Return the most bytes that the intermediate results of a slice may take."""
        tokens = TRACED_TOKENS if mx.default_device() == mx.cpu else ChunkSize.LARGEST
        return self.cost.nbytes(min(tokens, context), context)

    def running_bytes(self, context: int, slots: int) -> int:
        """Return the bytes beside the weights at the peak of ``slots`` sequences."""
        held = self.cache_bytes(context, slots)
        prefill = held // slots + self.slice_bytes(context)
        decode = slots * (
            self.cost.nbytes(1, context) + LOGIT_COPIES * FLOAT_BYTES * self.vocabulary
        )
        joining = self.sizes.copied_bytes(held, slots) if slots > 1 else 0
        return round(held + max(prefill, decode + joining))

    def scratch_bytes(self, context: int, slots: int) -> int:
        """Return the bytes beside weights and caches at the peak, that of the load included."""
        held = self.cache_bytes(context, slots)
        running = self.running_bytes(context, slots) - held
        return max(running, self.load_bytes - self.weight_bytes - held)

    def total_bytes(self, context: int, slots: int) -> int:
        """Return the peak of memory of ``slots`` sequences of ``context`` tokens."""
        held = self.weight_bytes + self.cache_bytes(context, slots)
        return held + self.scratch_bytes(context, slots)

    def longest_context(self, available: int, slots: int, most: int) -> int:
        """Return the longest context up to ``most`` tokens that fits; 0 if none does.

        It is a multiple of the tokens by which caches grow, unless it is ``most``.
        """
        if self.total_bytes(most, slots) <= available:
            return most
        # In steps: `low` fits or is 0, and `high` + 1 does not fit.
        low, high = 0, most // STEP_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            if self.total_bytes(middle * STEP_TOKENS, slots) <= available:
                low = middle
            else:
                high = middle - 1
        return low * STEP_TOKENS


def footprint_of(
    model: Any,
    policy: CachePolicy,
    sizes: CacheSizes,
    *,
    context: int,
    load_bytes: int,
) -> Footprint:
    """Work out the footprint of a model whose weights may still be on disk."""
    flat: Any = tree_flatten(model.parameters())
    weights = sum(array.nbytes for _, array in flat)
    logits = model(mx.array([[0]]))  # lazy: shape and dtype alone are worked out
    vectorize(model)
    return Footprint(
        compute_dtype=str(logits.dtype).removeprefix("mlx.core."),
        weight_bytes=weights,
        load_bytes=load_bytes,
        sizes=sizes,
        cost=_pass_cost(model, policy, context),
        vocabulary=int(logits.shape[-1]),
    )


def _pass_cost(model: Any, policy: CachePolicy, context: int) -> PassCost:
    """Measure recorded passes at the beginning and the end of a context.

    If MLX can't record an architecture's operations, the shapes of the weights tell about as much.
    """
    first = 2 * TRACED_TOKENS
    last = max(context, 2 * first)
    try:
        passes = [
            trace_pass(model, policy, TRACED_TOKENS, total - TRACED_TOKENS)
            for total in (first, last)
        ]
    except (ValueError, RuntimeError, TypeError, AttributeError):
        return _estimated_cost(model)
    begin, end = (most_bytes(each) / TRACED_TOKENS for each in passes)
    pair = max((end - begin) / (last - first), 0.0)
    return PassCost(max(begin - pair * first, 0.0), pair)


def _estimated_cost(model: Any) -> PassCost:
    """Estimate the cost of a token by the outputs of a layer's weights, of which each is used thrice."""
    layers = getattr(model, "layers", None) or [model]
    flat: Any = [tree_flatten(layer.parameters()) for layer in layers]
    widths = [sum(array.shape[-2] for _, array in layer if array.ndim > 1) for layer in flat]
    return PassCost(token=3.0 * max(widths) * FLOAT_BYTES)
