"""The requests whose answer is text: generate, chat and batch, as text or as a caller's type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from mlxwire_protocol.replies import RequestMetrics

from .item_stream import BatchStream
from .options import (
    ChatOptions,
    GenerateOptions,
    Messages,
    OnProgress,
    chat_messages,
    request_options,
    set_fields,
)
from .parsed_stream import ParsedBatch, ParsedResult, ParsedStream
from .process.checks import check_callback
from .requests.route import ModelRoute
from .requests.stream_request import ItemRequest
from .requests.token_request import TokenRequest
from .results import BatchResult, Done, OnToken, convert_batch_item
from .token_stream import TokenStream
from .typed.answer_type import AnswerType

T = TypeVar("T")


class Answers:
    """The base of `Model`: what it generates."""

    def __init__(self, route: ModelRoute) -> None:
        self._route = route
        self._metrics = RequestMetrics()

    @property
    def metrics(self) -> RequestMetrics:
        """The figures of the last stream or batch that ended; zeros before the first."""
        return self._metrics

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
        fields = {"prompt": prompt, **request_options(options)}
        return self._stream(
            "generate", fields, response_model, timeout, idle_timeout, on_progress
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
        fields = {"messages": chat_messages(messages), **request_options(options)}
        return self._stream("chat", fields, response_model, timeout, idle_timeout, on_progress)

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
        check_callback("on_token", on_token)
        given = set_fields(prompts=prompts, stream=True if on_token else None)
        fields = {**given, **request_options(options)}
        limits: dict[str, Any] = {
            "timeout": timeout,
            "idle_timeout": idle_timeout,
            "on_progress": on_progress,
            "on_done": self._note,
            "on_token": on_token,
        }
        if response_model is None:
            plain: ItemRequest[BatchResult] = ItemRequest(
                self._route, "batch", fields, convert=convert_batch_item, **limits
            )
            return BatchStream(plain)
        answer_type: AnswerType[Any] = AnswerType(response_model)
        typed: ItemRequest[ParsedResult[Any]] = ItemRequest(
            self._route,
            "batch",
            answer_type.add_to(fields),
            convert=lambda item: ParsedResult.of(convert_batch_item(item), answer_type),
            **limits,
        )
        return ParsedBatch(typed)

    def _stream(
        self,
        command: str,
        fields: Mapping[str, Any],
        response_model: Any,
        timeout: float | None,
        idle_timeout: float | None,
        on_progress: OnProgress | None,
    ) -> TokenStream:
        answer_type: AnswerType[Any] | None = None
        if response_model is not None:
            answer_type = AnswerType(response_model)
            fields = answer_type.add_to(fields)
        request = TokenRequest(
            self._route,
            command,
            fields,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=self._note,
        )
        return (
            TokenStream(request) if answer_type is None else ParsedStream(request, answer_type)
        )

    def _note(self, done: Done) -> None:
        self._metrics = done.metrics
