"""A loaded model: generate, chat, batch, classify, and its prompt cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import LoadResult, ModelInfo

from .batch import BatchStream
from .cache import PromptCache
from .connection.route import ModelRoute
from .errors import ModelNotLoaded
from .options import (
    ChatOptions,
    GenerateOptions,
    Messages,
    OnProgress,
    chat_messages,
    set_fields,
)
from .requests.pending import ask
from .requests.stream_request import ItemRequest, TokenRequest
from .results import (
    BatchResult,
    ClassifyResult,
    Done,
    OnToken,
    convert_batch_item,
    convert_reply,
)
from .stream import Stream, TokenStream


class Model:
    """What `Worker.load` gives. It stands for one load: a later one replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout`` is how many seconds a request may take, ``idle_timeout`` how many without a
    message of it while somebody waits for one; left out they are the worker's
    ``request_timeout`` and ``idle_timeout``.
    """

    def __init__(
        self, route: ModelRoute, *, on_close: Callable[[ModelRoute], Awaitable[None]]
    ) -> None:
        self._route = route
        self._on_close = on_close
        self._metrics = RequestMetrics()
        self._cache = PromptCache(route)

    @property
    def loaded(self) -> LoadResult:
        """What the last `load` said of it; `info` asks again.

        Raises: ModelNotLoaded where it is only loaded on demand, and has not been yet.
        """
        if self._route.loaded is None:
            raise ModelNotLoaded(
                "the model is loaded by its first request; `await model.info()` is one"
            )
        return self._route.loaded

    @property
    def cache(self) -> PromptCache:
        """What earlier prompts computed: look at it, clear, fill, save and load it."""
        return self._cache

    @property
    def metrics(self) -> RequestMetrics:
        """Figures of the last operation that ended; zeros before the first."""
        return self._metrics

    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream:
        """Continue a raw prompt. Nothing is sent before the stream is entered or iterated."""
        fields = {"prompt": prompt, **set_fields(**options)}
        return self._stream("generate", fields, timeout, idle_timeout, on_progress)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream:
        """Answer a conversation, or one user turn given as a string. Streams as `generate`."""
        fields = {"messages": chat_messages(messages), **set_fields(**options)}
        return self._stream("chat", fields, timeout, idle_timeout, on_progress)

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
        """Continue many raw prompts in one request; a `BatchResult` for each as it ends.

        With ``on_token`` each token is told as it comes, with the ``index`` of its prompt; a
        callback can't wait, so only results hold back a batch that nobody takes.
        """
        fields = set_fields(prompts=prompts, stream=True if on_token else None, **options)
        request: ItemRequest[BatchResult] = ItemRequest(
            self._route,
            "batch",
            fields,
            convert=convert_batch_item,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=self._note,
            on_token=on_token,
        )
        return BatchStream(request)

    async def classify(
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
        """One forward pass for each prompt: the likeliest next token, in the prompts' order.

        Raises: MlxwireError; one bad prompt fails all.
        """
        fields = set_fields(
            prompts=prompts,
            logits=logits or None,
            labels=labels,
            deadline_seconds=deadline_seconds,
        )
        request = ItemRequest(
            self._route,
            "classify",
            fields,
            convert=lambda item: convert_reply(item, ClassifyResult),
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=self._note,
        )
        return sorted(await Stream(request).take_all(), key=lambda result: result.index)

    async def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Describe the model as it is now."""
        return convert_reply(await ask(self._route, "info", {}, timeout), ModelInfo)

    async def close(self) -> None:
        """Unload it and give its memory back. Harmless when it is gone already."""
        if self._route.open:
            await self._on_close(self._route)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _stream(
        self,
        command: str,
        fields: Mapping[str, Any],
        timeout: float | None,
        idle_timeout: float | None,
        on_progress: OnProgress | None,
    ) -> TokenStream:
        request = TokenRequest(
            self._route,
            command,
            fields,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=self._note,
        )
        return TokenStream(request)

    def _note(self, done: Done) -> None:
        self._metrics = done.metrics
