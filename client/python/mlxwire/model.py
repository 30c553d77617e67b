"""A loaded model: generate, chat, batch, classify, and its prompt cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from mlxwire_protocol.replies import LoadResult, ModelInfo, RequestMetrics

from .batch import BatchStream
from .cache import PromptCache
from .connection import Connection
from .errors import ModelNotLoaded
from .options import (
    ChatOptions,
    GenerateOptions,
    Messages,
    OnProgress,
    chat_messages,
    set_fields,
)
from .results import (
    BatchResult,
    ClassifyResult,
    Done,
    OnToken,
    convert_batch_item,
    convert_reply,
)
from .stream import Stream, TokenStream
from .stream_request import ItemRequest, TokenRequest


class Model:
    """What `Worker.load` gives. It stands for one load: a later one replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout`` is in seconds, and the worker's ``request_timeout`` where it is left out.
    """

    def __init__(
        self,
        connection: Connection,
        loaded: LoadResult,
        *,
        on_close: Callable[[Model], Awaitable[None]],
    ) -> None:
        self.loaded = loaded
        """What `load` said of it; `info` asks again."""
        self._connection = connection
        self._on_close = on_close
        self._metrics = RequestMetrics()
        self._gone: str | None = None
        self.cache = PromptCache(connection, self._check)
        """What earlier prompts computed: look at it, fill it, save it."""

    @property
    def metrics(self) -> RequestMetrics:
        """Figures of the last operation that ended; zeros before the first."""
        return self._metrics

    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream:
        """Continue a raw prompt. Nothing is sent before the stream is entered or iterated."""
        fields = {"prompt": prompt, **set_fields(**options)}
        return self._stream("generate", fields, timeout, on_progress)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream:
        """Answer a conversation, or one user turn given as a string. Streams as `generate`."""
        fields = {"messages": chat_messages(messages), **set_fields(**options)}
        return self._stream("chat", fields, timeout, on_progress)

    def batch(
        self,
        prompts: Sequence[str],
        *,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BatchStream:
        """Continue many raw prompts in one request; a `BatchResult` for each as it ends.

        With ``on_token`` each token is told as it comes, with the ``index`` of its prompt; a
        callback can't wait, so only results hold back a batch that nobody takes.
        """
        fields = set_fields(prompts=prompts, stream=True if on_token else None, **options)
        request: ItemRequest[BatchResult] = ItemRequest(
            self._connection,
            "batch",
            fields,
            convert=convert_batch_item,
            limits=self._connection.limits,
            window=self._connection.window,
            timeout=self._connection.timeout(timeout),
            on_progress=on_progress,
            on_done=self._note,
            on_token=on_token,
        )
        return BatchStream(request, self._check)

    async def classify(
        self,
        prompts: Sequence[str],
        *,
        logits: bool = False,
        labels: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
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
            self._connection,
            "classify",
            fields,
            convert=lambda item: convert_reply(item, ClassifyResult),
            limits=self._connection.limits,
            window=self._connection.window,
            timeout=self._connection.timeout(timeout),
            on_progress=on_progress,
            on_done=self._note,
        )
        async with Stream(request, self._check) as stream:
            results = [result async for result in stream]
        return sorted(results, key=lambda result: result.index)

    async def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Describe the model as it is now."""
        self._check()
        return convert_reply(await self._connection.ask("info", {}, timeout=timeout), ModelInfo)

    async def close(self) -> None:
        """Unload it and give its memory back. Harmless when it is gone already."""
        if self._gone is None:
            await self._on_close(self)

    def own(self, close_worker: Callable[[], Awaitable[None]]) -> None:
        """The worker is this model's alone: `close` ends it too."""

        async def close(_: Model) -> None:
            await close_worker()

        self._on_close = close

    def mark_gone(self, why: str) -> None:
        """From now on every use is an error that says ``why``."""
        self._gone = self._gone or why

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
        on_progress: OnProgress | None,
    ) -> TokenStream:
        request = TokenRequest(
            self._connection,
            command,
            fields,
            limits=self._connection.limits,
            window=self._connection.window,
            timeout=self._connection.timeout(timeout),
            on_progress=on_progress,
            on_done=self._note,
        )
        return TokenStream(request, self._check)

    def _check(self) -> None:
        self._connection.check_loop()
        if self._gone is not None and self._connection.failure is None:
            raise ModelNotLoaded(self._gone)

    def _note(self, done: Done) -> None:
        self._metrics = done.metrics
