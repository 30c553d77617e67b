"""The requests about texts as such, blocking."""

# Written by generate_sync.py from mlxwire/texts/text_requests.py: change that file, then run the script.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from ..options import Messages, OnProgress, Tools
from ..texts.options import ClassifyOptions, Conversations, EmbedOptions, Text
from ..texts.results import RankedDocument, Rendered
from .answers import Answers
from .stream import ClassifyStream, EmbeddingStream, ScoreStream


class TextRequests(Answers):
    """The base of `Model`: how it reads texts.

    ``timeout``, ``idle_timeout`` and ``on_progress`` are those of `Model`.
    """

    def render(
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
        return self._thread.call(
            self._aio.render(
                messages,
                thinking=thinking,
                special_tokens=special_tokens,
                tools=tools,
                tool_choice=tool_choice,
                timeout=timeout,
            )
        )

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
        return EmbeddingStream(
            self._thread,
            self._aio.embed(
                texts,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
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

        The stream gives each `ScoreResult` as it is computed; `results` gives all of them in order.
        ``adapter`` and ``deadline_seconds`` are those of `GenerateOptions`. Raises: InvalidParams.
        """
        return ScoreStream(
            self._thread,
            self._aio.score(
                texts,
                adapter=adapter,
                deadline_seconds=deadline_seconds,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
            ),
        )

    def rerank(
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
        return self._thread.call(
            self._aio.rerank(
                query,
                documents,
                instruction=instruction,
                top_n=top_n,
                adapter=adapter,
                deadline_seconds=deadline_seconds,
                timeout=timeout,
            )
        )

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

        The stream gives each `ClassifyResult` as it is computed; `results` gives all of them in the
        order of the prompts. ``messages`` in place of ``prompts``: a conversation or a list of them,
        which the chat template renders; a label is then the assistant's answer. ``logits``: return the
        raw values over the vocabulary too. Raises: InvalidParams.
        """
        return ClassifyStream(
            self._thread,
            self._aio.classify(
                prompts,
                messages=messages,
                logits=logits,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )
