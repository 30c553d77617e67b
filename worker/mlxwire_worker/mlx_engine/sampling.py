"""Chooses tokens. Parameters are arrays, so that a new temperature compiles nothing.

mlx-lm's samplers bake them in as constants of compiled functions: 410 ms for each new value on
the CPU, and a cache that only grows (ENGINE.md §7). The meaning is theirs: top_p, min_p and
top_k cut by the probabilities before temperature.
"""

from __future__ import annotations

import math
import os

import mlx.core as mx

from mlxwire_protocol.messages import Sampling

_COLDEST = 1e-3
"""Below this a temperature is greedy: dividing by it would only overflow."""


class Sampler:
    """One request's sampler, with its own random key: no other request changes its draws."""

    def __init__(self, request: Sampling) -> None:
        self._greedy = request.temperature < _COLDEST
        self._penalty: mx.array | None = None
        self._seen: mx.array | None = None
        if request.repeat_penalty not in (0.0, 1.0):
            self._penalty = mx.array(request.repeat_penalty, dtype=mx.float32)
        if self._greedy:
            return
        seed = (
            request.seed if request.seed is not None else int.from_bytes(os.urandom(7), "big")
        )
        self._key = mx.random.key(seed)
        self._inverse_temperature = mx.array(1.0 / request.temperature, dtype=mx.float32)
        self._top_k = mx.array(request.top_k) if request.top_k else None
        self._top_p = mx.array(request.top_p) if 0 < request.top_p < 1 else None
        self._min_logprob = mx.array(math.log(request.min_p)) if request.min_p > 0 else None

    def sample(self, logits: mx.array) -> mx.array:
        """The next token, lazily: ``logits`` [1, V] of the model's dtype to ids [1]."""
        if self._penalty is not None:
            logits = self._penalized(logits, self._penalty)
        if self._greedy:
            # By logprobs in the model's dtype, as mlx-lm does: in bf16 their rounding makes
            # ties that plain logits do not have, and the greedy text must equal mlx-lm's.
            token = mx.argmax(logits - mx.logsumexp(logits, keepdims=True), axis=-1)
        else:
            token = self._draw(logits.astype(mx.float32))
        if self._seen is not None:
            vocabulary = mx.arange(logits.shape[-1])[None]
            self._seen = mx.logical_or(self._seen, vocabulary == token[:, None])
        return token

    def _penalized(self, logits: mx.array, penalty: mx.array) -> mx.array:
        if self._seen is None:
            self._seen = mx.zeros(logits.shape, dtype=mx.bool_)
        wide = logits.astype(mx.float32)
        penalized = mx.where(wide > 0, wide / penalty, wide * penalty)
        return mx.where(self._seen, penalized, wide).astype(logits.dtype)

    def _draw(self, logits: mx.array) -> mx.array:
        self._key, key = mx.random.split(self._key)
        if self._top_k is None and self._top_p is None and self._min_logprob is None:
            return mx.random.categorical(logits * self._inverse_temperature, key=key)
        order = mx.argsort(-logits, axis=-1)
        logprobs = mx.take_along_axis(logits, order, axis=-1)
        logprobs = logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)
        kept = mx.ones(logprobs.shape, dtype=mx.bool_)
        if self._top_p is not None:
            probabilities = mx.exp(logprobs)
            above = mx.cumsum(probabilities, axis=-1, inclusive=False)
            kept = above < self._top_p
        if self._min_logprob is not None:
            kept = mx.logical_and(kept, logprobs >= logprobs[:, :1] + self._min_logprob)
        if self._top_k is not None:
            # Counted among what top_p and min_p leave, which is always the head of the order.
            kept = mx.logical_and(kept, mx.arange(logits.shape[-1])[None] < self._top_k)
        scaled = mx.where(kept, logprobs * self._inverse_temperature, -mx.inf)
        place = mx.random.categorical(scaled, key=key)
        return mx.take_along_axis(order, place[:, None], axis=-1)[:, 0]
