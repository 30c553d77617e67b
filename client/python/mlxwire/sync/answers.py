"""The requests whose answer is text, blocking."""

# Written by generate_sync.py from mlxwire/answers.py: change that file, then run the script.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, overload

from mlxwire_protocol.replies import RequestMetrics

from ..answers import T
from ..model import Model as AsyncModel
from ..options import ChatOptions, GenerateOptions, Messages, OnProgress
from ..results import OnToken
from .base import ThreadUser
from .stream import BatchStream, ParsedBatch, ParsedStream, TokenStream, wrap_batch, wrap_tokens


class Answers(ThreadUser[AsyncModel]):
    """The base of `Model`: what it generates."""

    @property
    def metrics(self) -> RequestMetrics:
        """The figures of the last stream or batch that ended; zeros before the first."""
        return self._aio.metrics

    @overload
    def generate(
        self,
        prompt: str,
        *,
        response_model: None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream: ...

    @overload
    def generate(
        self,
        prompt: str,
        *,
        response_model: type[T],
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> ParsedStream[T]: ...

    @overload
    def generate(
        self,
        prompt: str,
        *,
        response_model: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> ParsedStream[Any]: ...

    def generate(
        self,
        prompt: str,
        *,
        response_model: Any = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream:
        """Continue a raw prompt; the request is sent when the stream is entered or iterated.

        ``response_model``: the type of the answer, which is then JSON (docs/structured-output.md).
        Raises: InvalidParams if no JSON Schema can be made for that.
        """
        return wrap_tokens(
            self._thread,
            self._aio.generate(
                prompt,
                response_model=response_model,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        response_model: None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream: ...

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        response_model: type[T],
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> ParsedStream[T]: ...

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        response_model: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> ParsedStream[Any]: ...

    def chat(
        self,
        messages: Messages,
        *,
        response_model: Any = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream:
        """Answer a conversation, or one turn of the user as a string; sent as `generate` is.

        Raises: InvalidParams if ``messages`` is neither, and as `generate`.
        """
        return wrap_tokens(
            self._thread,
            self._aio.chat(
                messages,
                response_model=response_model,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )

    @overload
    def batch(
        self,
        prompts: Sequence[str],
        *,
        response_model: None = None,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BatchStream: ...

    @overload
    def batch(
        self,
        prompts: Sequence[str],
        *,
        response_model: type[T],
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> ParsedBatch[T]: ...

    @overload
    def batch(
        self,
        prompts: Sequence[str],
        *,
        response_model: Any,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> ParsedBatch[Any]: ...

    def batch(
        self,
        prompts: Sequence[str],
        *,
        response_model: Any = None,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BatchStream | ParsedBatch[Any]:
        """Continue many raw prompts in one request; each yields a `BatchResult` when it ends.

        ``on_token`` is called with each token at once, which has the ``index`` of its prompt.
        A callback can't hold back the worker; results that nobody takes do. ``response_model``:
        as in `generate`; each result is then a `ParsedResult`.
        """
        return wrap_batch(
            self._thread,
            self._aio.batch(
                prompts,
                response_model=response_model,
                on_token=on_token,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )
