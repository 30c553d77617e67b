"""A loaded model and its prompt cache, blocking."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import CacheResult, LoadResult, ModelInfo

from .. import cache as aio_cache
from .. import model as aio_model
from ..errors import ShuttingDown
from ..options import ChatOptions, GenerateOptions, Messages, OnProgress, Path
from ..results import ClassifyResult, OnToken
from .loop_thread import LoopThread
from .stream import BatchStream, TokenStream


class PromptCache:
    """As `mlxwire.PromptCache`, blocking."""

    def __init__(self, thread: LoopThread, cache: aio_cache.PromptCache) -> None:
        self._thread = thread
        self._cache = cache

    def stats(self, *, timeout: float | None = None) -> CacheResult:
        """What it holds, and how often it helped."""
        return self._thread.call(self._cache.stats(timeout=timeout))

    def clear(self, *, timeout: float | None = None) -> CacheResult:
        """Drop all of it."""
        return self._thread.call(self._cache.clear(timeout=timeout))

    def warm(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        timeout: float | None = None,
    ) -> CacheResult:
        """Compute a prompt or a conversation for later."""
        return self._thread.call(self._cache.warm(prompt, messages=messages, timeout=timeout))

    def save(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Write it to a file."""
        return self._thread.call(self._cache.save(path, timeout=timeout))

    def load(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Read what `save` wrote."""
        return self._thread.call(self._cache.load(path, timeout=timeout))


class Model:
    """As `mlxwire.Model`, blocking."""

    def __init__(self, thread: LoopThread, model: aio_model.Model) -> None:
        self._thread = thread
        self._model = model
        self._cache = PromptCache(thread, model.cache)

    @property
    def cache(self) -> PromptCache:
        """What earlier prompts computed: look at it, clear, fill, save and load it."""
        return self._cache

    @property
    def loaded(self) -> LoadResult:
        """What `load` said of it."""
        return self._model.loaded

    @property
    def metrics(self) -> RequestMetrics:
        """Figures of the last operation that ended."""
        return self._model.metrics

    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream:
        """Continue a raw prompt. ``on_progress`` is called on the background thread."""
        stream = self._model.generate(
            prompt,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            **options,
        )
        return TokenStream(self._thread, stream)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream:
        """Answer a conversation, or one user turn given as a string."""
        stream = self._model.chat(
            messages,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            **options,
        )
        return TokenStream(self._thread, stream)

    def batch(
        self,
        prompts: Sequence[str],
        *,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BatchStream:
        """Continue many raw prompts in one request. Callbacks run on the background thread."""
        stream = self._model.batch(
            prompts,
            on_token=on_token,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            **options,
        )
        return BatchStream(self._thread, stream)

    def classify(
        self,
        prompts: Sequence[str],
        *,
        logits: bool = False,
        labels: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[ClassifyResult]:
        """One forward pass for each prompt."""
        return self._thread.call(
            self._model.classify(
                prompts,
                logits=logits,
                labels=labels,
                deadline_seconds=deadline_seconds,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
            )
        )

    def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Describe the model as it is now."""
        return self._thread.call(self._model.info(timeout=timeout))

    def close(self) -> None:
        """Unload it. Harmless when it is gone already."""
        with contextlib.suppress(ShuttingDown):
            self._thread.call(self._model.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
