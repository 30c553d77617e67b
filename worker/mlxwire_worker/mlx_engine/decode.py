"""One sequence's way through the model: prefill in chunks, then a pipelined decode.

The numbers are those of mlx_lm.generate.generate_step; unlike it, every call is one bounded
slice, so that a cancel is heard between them.
"""

from __future__ import annotations

import time
from typing import Any, cast

import mlx.core as mx
from mlx_lm.generate import generation_stream
from mlx_lm.models.cache import make_prompt_cache

from ..engine import Prefilled, Prompt, Sampled, StepResult
from .sampling import Sampler

CLEAR_CACHE_TOKENS = 256


class ChunkSize:
    """How many prompt tokens one prefill slice takes, so that it lasts about ``seconds``.

    Learned from measured slices: a power of two, at most mlx-lm's own 2048.
    """

    SMALLEST, LARGEST = 16, 2048

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        self.tokens = 512

    def learn(self, tokens: int, seconds: float) -> None:
        """Take a measured slice into account; a short one says little and is ignored."""
        if tokens < self.SMALLEST or seconds <= 0:
            return
        fitting = tokens * self._seconds / seconds
        # Attention makes later chunks of a prompt slower, so shrink at once and grow by steps.
        if fitting < self.tokens:
            self.tokens = max(self.SMALLEST, 1 << (int(fitting).bit_length() - 1))
        elif fitting >= 2 * self.tokens and tokens >= self.tokens:
            self.tokens = min(self.LARGEST, 2 * self.tokens)


class SequenceDecoder:
    """A prompt, its cache and its sampler. Lives on the engine's thread."""

    def __init__(self, model: Any, prompt: Prompt, chunk: ChunkSize) -> None:
        self._model = model
        self._prompt = prompt
        self._chunk = chunk
        self._cache = make_prompt_cache(model)
        self._sampler = Sampler(prompt.request)
        self._done = 0
        self._sampled = 0
        self._next: mx.array | None = None

    def step(self) -> StepResult:
        """The next slice: a prefill chunk, or a token."""
        with mx.stream(generation_stream):
            left = len(self._prompt.ids) - self._done
            if left > 1:
                return self._prefill(min(left - 1, self._chunk.tokens))
            return self._decode()

    def _prefill(self, size: int) -> Prefilled:
        started = time.perf_counter()
        ids = mx.array(self._prompt.ids[self._done : self._done + size])
        self._model(ids[None], cache=self._cache)
        mx.eval([layer.state for layer in self._cache])
        mx.clear_cache()
        self._done += size
        self._chunk.learn(size, time.perf_counter() - started)
        return Prefilled(self._prompt, self._done)

    def _decode(self) -> Sampled:
        current = self._next
        if current is None:
            current = self._forward(mx.array(self._prompt.ids[-1:]))
        self._sampled += 1
        # The next step is on its way to the device before this one's token is read.
        if self._sampled < self._prompt.max_tokens:
            self._next = self._forward(current)
        token = cast(int, current.item())
        if self._sampled % CLEAR_CACHE_TOKENS == 0:
            mx.clear_cache()
        return Sampled(self._prompt, token)

    def _forward(self, token: mx.array) -> mx.array:
        logits = self._model(token[None], cache=self._cache)[:, -1, :]
        sampled = self._sampler.sample(logits)
        mx.async_eval(sampled)
        return sampled
