"""A loaded model, blocking."""

# Written by generate_sync.py from mlxwire/model.py: change that file, then run the script.

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self, Unpack

from mlxwire_protocol.models.replies import FitResult
from mlxwire_protocol.results import AdapterInfo, LoadResult, ModelInfo
from mlxwire_protocol.training.replies import EvaluateResult

from ..folders.fitting import FitOptions
from ..options import Messages, OnProgress, Path, Tools
from ..results import Inspected, Tokenized
from ..training import EvaluateOptions, TrainOptions
from .base import LEFT_ALONE
from .cache import PromptCache
from .text_requests import TextRequests
from .training import Training


class Model(TextRequests):
    """One loaded model, as `Worker.load` returns it; a later load replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout``: seconds for the whole request. ``idle_timeout``: seconds without a message while
    the caller waits for one; 0 is no limit. Left out, the worker's ``request_timeout`` and
    ``idle_timeout`` hold. ``on_progress``: a plain function, called with each `Progress` of a long
    prompt. A request for many prompts or texts also calls it for each that is finished, with the
    stage ``prompts``, ``messages`` or ``texts``.
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
        tools: Tools | None = None,
        count_only: bool = False,
        timeout: float | None = None,
    ) -> Tokenized:
        """Return the tokens of a conversation, as `chat` would compute them.

        ``thinking``, ``special_tokens`` and ``tools`` are those of `ChatOptions`. ``count_only`` True
        returns the number of tokens alone. Raises: InvalidParams, as `chat`.
        """
        return self._thread.call(
            self._aio.tokenize_chat(
                messages,
                thinking=thinking,
                special_tokens=special_tokens,
                tools=tools,
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

    def load_adapter(
        self, name: str, path: Path, *, timeout: float | None = None
    ) -> list[AdapterInfo]:
        """Load the adapter in a folder, of mlx-lm's format or PEFT's, and return all adapters.

        Requests use it by its name, as their option ``adapter``. A name in use is given to this
        adapter; requests in flight go on with the old one. A new process of a worker with
        ``restart`` has none. Raises: ModelNotFound, ModelLoadFailed, OutOfMemory.
        """
        return self._thread.call(self._aio.load_adapter(name, path, timeout=timeout))

    def unload_adapter(self, name: str, *, timeout: float | None = None) -> list[AdapterInfo]:
        """Unload an adapter, and return those that are left. Requests in flight go on with it.

        Raises: InvalidParams if none has the name; the message lists those that are loaded.
        """
        return self._thread.call(self._aio.unload_adapter(name, timeout=timeout))

    def adapters(self, *, timeout: float | None = None) -> list[AdapterInfo]:
        """Return the adapters that requests may name."""
        return self._thread.call(self._aio.adapters(timeout=timeout))

    def train(
        self,
        data: Path,
        *,
        out: Path,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[TrainOptions],
    ) -> Training:
        """Train an adapter of the model, or all its weights, in a process of its own.

        ``data``: a file or folder of JSONL. ``out``: the folder of the result. Sent as `generate` is,
        when the stream is entered, iterated, or asked for its `Training.result`; other requests go
        on meanwhile. Only ``timeout`` limits it, not the worker's limits of requests.
        """
        return Training(
            self._thread,
            self._aio.train(data, out=out, timeout=timeout, on_progress=on_progress, **options),
        )

    def evaluate(
        self,
        data: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> EvaluateResult:
        """Return the loss and the perplexity of data, in a process of its own, as `train` reads it.

        Only ``timeout`` limits it. Raises: MlxwireError.
        """
        return self._thread.call(
            self._aio.evaluate(data, timeout=timeout, on_progress=on_progress, **options)
        )

    def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Ask the worker to describe the model as it is now."""
        return self._thread.call(self._aio.info(timeout=timeout))

    def fit(self, *, timeout: float | None = None, **options: Unpack[FitOptions]) -> FitResult:
        """Predict the memory that the model needs, as `Worker.fit` does; in bytes.

        An option that is left out is that of its load.
        """
        return self._thread.call(self._aio.fit(timeout=timeout, **options))

    def close(self) -> None:
        """Unload the model and free its memory; do nothing if it is gone already."""
        with contextlib.suppress(*LEFT_ALONE):
            self._thread.call(self._aio.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
