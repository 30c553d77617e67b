"""A loaded model: generate, chat, batch, classify, tokenize, and the prompt cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import DetokenizeResult, LoadResult, ModelInfo

from .cache import PromptCache
from .errors import ModelNotLoaded
from .options import (
    ChatOptions,
    GenerateOptions,
    Messages,
    OnProgress,
    Path,
    chat_messages,
    request_options,
    set_fields,
)
from .process.checks import check_callback
from .requests.pending import ask
from .requests.route import ModelRoute
from .requests.stream_request import ItemRequest, TokenRequest
from .results import (
    BatchResult,
    ClassifyResult,
    Done,
    Inspected,
    OnToken,
    Tokenized,
    convert_batch_item,
    convert_reply,
)
from .stream import BatchStream, ReplyStream, TokenStream


class Model:
    """One loaded model, as `Worker.load` returns it; a later load replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout``: seconds for the whole request. ``idle_timeout``: seconds without a message while
    the caller waits for one; 0 is no limit. Left out, the worker's ``request_timeout`` and
    ``idle_timeout`` hold. ``on_progress``: a plain function, called with each `Progress` of a long
    prompt. `batch` and `classify` also call it for each finished prompt, with the stage ``prompts``.
    """

    def __init__(
        self, route: ModelRoute, *, on_close: Callable[[ModelRoute], Awaitable[None]]
    ) -> None:
        self._route = route
        self._on_close = on_close
        self._metrics = RequestMetrics()

    @property
    def loaded(self) -> LoadResult:
        """The result of the last load; `info` asks the worker again.

        Raises: ModelNotLoaded if a pool loads the model on demand and has not done so yet.
        """
        if self._route.loaded is None:
            raise ModelNotLoaded(
                "the model has not been loaded: its first request loads it, such as `info()`"
            )
        return self._route.loaded

    @property
    def cache(self) -> PromptCache:
        """The prompt cache: read its figures, clear, fill, save and load it."""
        return PromptCache(self._route)

    @property
    def metrics(self) -> RequestMetrics:
        """The figures of the last stream or batch that ended; zeros before the first."""
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
        """Continue a raw prompt; the request is sent when the stream is entered or iterated."""
        fields = {"prompt": prompt, **request_options(options)}
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
        """Answer a conversation, or one turn of the user as a string; sent as `generate` is.

        Raises: InvalidParams if ``messages`` is neither.
        """
        fields = {"messages": chat_messages(messages), **request_options(options)}
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
        """Continue many raw prompts in one request; each yields a `BatchResult` when it ends.

        ``on_token`` is called with each token at once, which has the ``index`` of its prompt.
        A callback can't hold back the worker; results that nobody takes do.
        """
        check_callback("on_token", on_token)
        given = set_fields(prompts=prompts, stream=True if on_token else None)
        fields = {**given, **request_options(options)}
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
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[ClassifyResult]:
        """Return the likeliest next token of each prompt, from one forward pass, in order.

        ``logits``: return the raw values over the vocabulary too. ``labels``: continuations
        whose probabilities to return. With a ``temperature`` above 0 the token is drawn, by
        ``top_k``, ``top_p``, ``min_p`` and ``seed`` as in `generate`. Raises: MlxwireError, whose
        ``results`` are what was finished before; one bad prompt fails them all.
        """
        fields = set_fields(
            prompts=prompts,
            logits=logits or None,
            labels=labels,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
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
        return sorted(await ReplyStream(request).take_all(), key=lambda result: result.index)

    async def tokenize(
        self,
        text: str,
        *,
        special_tokens: bool | None = None,
        count_only: bool = False,
        timeout: float | None = None,
    ) -> Tokenized:
        """Return the tokens of a raw prompt, as `generate` would compute them.

        ``special_tokens`` False leaves out the model's opening token and takes control tokens in
        ``text`` as plain text. ``count_only`` True returns the number of tokens alone.
        """
        return await self._tokenize(
            timeout,
            text=text,
            special_tokens=special_tokens,
            count_only=count_only or None,
        )

    async def tokenize_chat(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        special_tokens: bool | None = None,
        count_only: bool = False,
        timeout: float | None = None,
    ) -> Tokenized:
        """Return the tokens of a conversation, as `chat` would compute them.

        ``thinking`` and ``special_tokens`` are those of `ChatOptions`. ``count_only`` True
        returns the number of tokens alone. Raises: InvalidParams, as `chat`.
        """
        return await self._tokenize(
            timeout,
            messages=chat_messages(messages),
            thinking=thinking,
            special_tokens=special_tokens,
            count_only=count_only or None,
        )

    async def detokenize(self, ids: Sequence[int], *, timeout: float | None = None) -> str:
        """Return the text of token ids, control tokens included.

        Raises: InvalidParams for an id that is not in the vocabulary.
        """
        reply = await ask(self._route, "detokenize", set_fields(ids=ids), timeout)
        return convert_reply(reply, DetokenizeResult).text

    async def inspect(
        self,
        prompt: str,
        path: Path,
        *,
        layers: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> Inspected:
        """Write the queries and keys that the attention over a prompt compares to a file.

        ``path`` must be below the worker's ``--data-root`` if that is set. ``layers``: numbers of
        layers with attention, from 0; left out, all. Raises: MlxwireError.
        """
        fields = set_fields(prompt=prompt, path=path, layers=layers)
        return convert_reply(await ask(self._route, "inspect", fields, timeout), Inspected)

    async def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Ask the worker to describe the model as it is now."""
        return convert_reply(await ask(self._route, "info", {}, timeout), ModelInfo)

    async def close(self) -> None:
        """Unload the model and free its memory; do nothing if it is gone already."""
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

    async def _tokenize(self, timeout: float | None, **fields: Any) -> Tokenized:
        reply = await ask(self._route, "tokenize", set_fields(**fields), timeout)
        return convert_reply(reply, Tokenized)

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
