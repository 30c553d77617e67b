"""The requests about texts as such, which generate none: render, embed, rerank, score, classify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from mlxwire_protocol.chat.turns import Message

from ..answers import Answers
from ..options import (
    Messages,
    OnProgress,
    Tools,
    chat_messages,
    request_options,
    set_fields,
)
from ..requests.pending import ask
from ..requests.stream_request import ItemRequest
from ..results import convert_reply
from .options import ClassifyOptions, Conversations, EmbedOptions, Text
from .results import (
    RankedDocument,
    Rendered,
    Reranked,
    convert_classified,
    convert_embedding,
    convert_score,
    ranked,
)
from .streams import ClassifyStream, EmbeddingStream, ScoreStream

I = TypeVar("I")  # noqa: E741


class TextRequests(Answers):
    """The base of `Model`: how it reads texts.

    ``timeout``, ``idle_timeout`` and ``on_progress`` are those of `Model`.
    """

    async def render(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        special_tokens: bool | None = None,
        tools: Tools | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Rendered:
        """Return the prompt that a conversation becomes, with the tokens of each message.

        ``thinking``, ``special_tokens``, ``tools`` and ``tool_choice`` are those of `ChatOptions`.
        Raises: InvalidParams, as `chat`.
        """
        fields = set_fields(
            messages=chat_messages(messages),
            thinking=thinking,
            special_tokens=special_tokens,
            tools=tools,
            tool_choice=tool_choice,
        )
        return convert_reply(await ask(self._route, "render", fields, timeout), Rendered)

    def embed(
        self,
        texts: Sequence[Text],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingStream:
        """Return a vector for each text, given as a string or as its token ids.

        The stream gives each `Embedding` as it is computed; `EmbeddingStream.vectors` gives the
        vectors alone, in order. Raises: InvalidParams.
        """
        fields = {
            **set_fields(texts=texts),
            **request_options(options),
            "encoding_format": "base64",  # a quarter of the bytes, and twice as fast
        }
        return EmbeddingStream(
            self._items("embed", fields, convert_embedding, timeout, idle_timeout, on_progress)
        )

    def score(
        self,
        texts: Sequence[Text],
        *,
        adapter: str | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ScoreStream:
        """Return the log-probability of each token of each text, a string or its token ids.

        The stream gives each `ScoreResult` as it is computed; awaited, it gives all of them in order.
        ``adapter`` and ``deadline_seconds`` are those of `GenerateOptions`. Raises: InvalidParams.
        """
        fields = set_fields(texts=texts, adapter=adapter, deadline_seconds=deadline_seconds)
        return ScoreStream(
            self._items("score", fields, convert_score, timeout, idle_timeout, on_progress)
        )

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        top_n: int | None = None,
        adapter: str | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
    ) -> list[RankedDocument]:
        """Return how well each document answers a query, the best first.

        ``instruction``: what counts as an answer; left out, the model's own. ``top_n``: return so many
        of the best. Raises: MlxwireError; a document that is too long fails all of them.
        """
        fields = set_fields(
            query=query,
            documents=documents,
            instruction=instruction,
            top_n=top_n,
            adapter=adapter,
            deadline_seconds=deadline_seconds,
        )
        reply = convert_reply(await ask(self._route, "rerank", fields, timeout), Reranked)
        self._metrics = reply.metrics
        return ranked(reply, fields["documents"])

    def classify(
        self,
        prompts: Sequence[str] | None = None,
        *,
        messages: Conversations | None = None,
        logits: bool = False,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> ClassifyStream:
        """Return the likeliest next token of each prompt, from one forward pass.

        The stream gives each `ClassifyResult` as it is computed; awaited, it gives all of them in the
        order of the prompts. ``messages`` in place of ``prompts``: a conversation or a list of them,
        which the chat template renders; a label is then the assistant's answer. ``logits``: return the
        raw values over the vocabulary too. Raises: InvalidParams.
        """
        given = set_fields(prompts=prompts, logits=logits or None)
        fields = {**given, **request_options(options)}
        if messages is not None:
            fields["messages"] = conversations(messages)
        return ClassifyStream(
            self._items(
                "classify", fields, convert_classified, timeout, idle_timeout, on_progress
            )
        )

    def _items(
        self,
        command: str,
        fields: Mapping[str, Any],
        convert: Callable[[Mapping[str, Any]], I],
        timeout: float | None,
        idle_timeout: float | None,
        on_progress: OnProgress | None,
    ) -> ItemRequest[I]:
        return ItemRequest(
            self._route,
            command,
            fields,
            convert=convert,
            timeout=timeout,
            idle_timeout=idle_timeout,
            on_progress=on_progress,
            on_done=self._note,
        )


def conversations(messages: Conversations) -> list[list[dict[str, Any]]]:
    """Return one conversation, or several, as a list of conversations of plain turns.

    Raises: InvalidParams if it is neither.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        return [chat_messages(messages)]
    given: list[Any] = [*messages]
    if given and isinstance(given[0], Mapping | Message):
        return [chat_messages(given)]
    return [chat_messages(each) for each in given]
