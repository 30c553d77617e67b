"""A loaded model, blocking."""

# Written by generate_sync.py from mlxwire/model.py: change that file, then run the script.

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import LoadResult, ModelInfo

from ..model import Model as AsyncModel
from ..options import ChatOptions, GenerateOptions, Messages, OnProgress, Path
from ..results import ClassifyResult, Inspected, OnToken, Tokenized
from .base import LEFT_ALONE, ThreadUser
from .cache import PromptCache
from .stream import BatchStream, TokenStream


class Model(ThreadUser[AsyncModel]):
    """One loaded model, as `Worker.load` returns it; a later load replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout``: seconds for the whole request. ``idle_timeout``: seconds without a message while
    the caller waits for one; 0 is no limit. Left out, the worker's ``request_timeout`` and
    ``idle_timeout`` hold. ``on_progress``: a plain function, called with each `Progress` of a long
    prompt. `batch` and `classify` also call it for each finished prompt, with the stage ``prompts``.
    """

    @property
    def loaded(self) -> LoadResult:
        """The result of the last load; `info` asks the worker again.

        Raises: ModelNotLoaded if a pool loads the model on demand and has not done so yet.
        """
        return self._aio.loaded

    @property
    def cache(self) -> PromptCache:
        """The prompt cache: read its figures, clear, fill, save and load it."""
        return PromptCache(self._thread, self._aio.cache)

    @property
    def metrics(self) -> RequestMetrics:
        """The figures of the last stream or batch that ended; zeros before the first."""
        return self._aio.metrics

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
        return TokenStream(
            self._thread,
            self._aio.generate(
                prompt,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )

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
        return TokenStream(
            self._thread,
            self._aio.chat(
                messages,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )

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
        return BatchStream(
            self._thread,
            self._aio.batch(
                prompts,
                on_token=on_token,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
                **options,
            ),
        )

    def classify(
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
        return self._thread.call(
            self._aio.classify(
                prompts,
                logits=logits,
                labels=labels,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                seed=seed,
                deadline_seconds=deadline_seconds,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_progress=on_progress,
            )
        )

    def tokenize(
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
        return self._thread.call(
            self._aio.tokenize(
                text, special_tokens=special_tokens, count_only=count_only, timeout=timeout
            )
        )

    def tokenize_chat(
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
        return self._thread.call(
            self._aio.tokenize_chat(
                messages,
                thinking=thinking,
                special_tokens=special_tokens,
                count_only=count_only,
                timeout=timeout,
            )
        )

    def detokenize(self, ids: Sequence[int], *, timeout: float | None = None) -> str:
        """Return the text of token ids, control tokens included.

        Raises: InvalidParams for an id that is not in the vocabulary.
        """
        return self._thread.call(self._aio.detokenize(ids, timeout=timeout))

    def inspect(
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
        return self._thread.call(
            self._aio.inspect(prompt, path, layers=layers, timeout=timeout)
        )

    def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Ask the worker to describe the model as it is now."""
        return self._thread.call(self._aio.info(timeout=timeout))

    def close(self) -> None:
        """Unload the model and free its memory; do nothing if it is gone already."""
        with contextlib.suppress(*LEFT_ALONE):
            self._thread.call(self._aio.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
