"""A loaded model: its answers (`answers.py`), texts (`texts/`), adapters, and the prompt cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from mlxwire_protocol.models.replies import FitResult
from mlxwire_protocol.results import (
    AdapterInfo,
    AdapterResult,
    DetokenizeResult,
    LoadResult,
    ModelInfo,
)
from mlxwire_protocol.training.replies import EvaluateResult

from .cache import PromptCache
from .errors import ModelNotLoaded
from .folders.fitting import FitOptions
from .options import (
    Messages,
    OnProgress,
    Path,
    Tools,
    chat_messages,
    request_options,
    set_fields,
)
from .requests.pending import PendingRequest, ask
from .requests.route import ModelRoute
from .requests.train_request import TrainRequest
from .results import Inspected, Tokenized, convert_reply
from .texts.text_requests import TextRequests
from .training import EvaluateOptions, Training, TrainOptions


class Model(TextRequests):
    """One loaded model, as `Worker.load` returns it; a later load replaces it.

    Any number of requests may run at the same time; the worker decodes them together.
    ``timeout``: seconds for the whole request. ``idle_timeout``: seconds without a message while
    the caller waits for one; 0 is no limit. Left out, the worker's ``request_timeout`` and
    ``idle_timeout`` hold. ``on_progress``: a plain function, called with each `Progress` of a long
    prompt. A request for many prompts or texts also calls it for each that is finished, with the
    stage ``prompts``, ``messages`` or ``texts``.
    """

    def __init__(
        self, route: ModelRoute, *, on_close: Callable[[ModelRoute], Awaitable[None]]
    ) -> None:
        super().__init__(route)
        self._on_close = on_close

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
        tools: Tools | None = None,
        count_only: bool = False,
        timeout: float | None = None,
    ) -> Tokenized:
        """Return the tokens of a conversation, as `chat` would compute them.

        ``thinking``, ``special_tokens`` and ``tools`` are those of `ChatOptions`. ``count_only`` True
        returns the number of tokens alone. Raises: InvalidParams, as `chat`.
        """
        return await self._tokenize(
            timeout,
            messages=chat_messages(messages),
            thinking=thinking,
            special_tokens=special_tokens,
            tools=tools,
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

    async def load_adapter(
        self, name: str, path: Path, *, timeout: float | None = None
    ) -> list[AdapterInfo]:
        """Load the adapter in a folder, of mlx-lm's format or PEFT's, and return all adapters.

        Requests use it by its name, as their option ``adapter``. A name in use is given to this
        adapter; requests in flight go on with the old one. A new process of a worker with
        ``restart`` has none. Raises: ModelNotFound, ModelLoadFailed, OutOfMemory.
        """
        return await self._adapter("load", timeout, name=name, path=path)

    async def unload_adapter(
        self, name: str, *, timeout: float | None = None
    ) -> list[AdapterInfo]:
        """Unload an adapter, and return those that are left. Requests in flight go on with it.

        Raises: InvalidParams if none has the name; the message lists those that are loaded.
        """
        return await self._adapter("unload", timeout, name=name)

    async def adapters(self, *, timeout: float | None = None) -> list[AdapterInfo]:
        """Return the adapters that requests may name."""
        return await self._adapter("list", timeout)

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
        fields = {**set_fields(data=data, out=out), **request_options(options)}
        return Training(
            TrainRequest(self._route, fields, timeout=timeout, on_progress=on_progress)
        )

    async def evaluate(
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
        fields = {**set_fields(data=data), **request_options(options)}
        self._route.check_loop()
        request = PendingRequest(
            self._route, "evaluate", fields, timeout=timeout, on_progress=on_progress
        )
        return convert_reply(await request.result(), EvaluateResult)

    async def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Ask the worker to describe the model as it is now."""
        return convert_reply(await ask(self._route, "info", {}, timeout), ModelInfo)

    async def fit(
        self, *, timeout: float | None = None, **options: Unpack[FitOptions]
    ) -> FitResult:
        """Predict the memory that the model needs, as `Worker.fit` does; in bytes.

        An option that is left out is that of its load.
        """
        fields = request_options(options)
        return convert_reply(await ask(self._route, "fit", fields, timeout), FitResult)

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

    async def _adapter(
        self, action: str, timeout: float | None, **fields: Any
    ) -> list[AdapterInfo]:
        asked = set_fields(action=action, **fields)
        reply = await ask(self._route, "adapter", asked, timeout)
        return convert_reply(reply, AdapterResult).adapters

    async def _tokenize(self, timeout: float | None, **fields: Any) -> Tokenized:
        reply = await ask(self._route, "tokenize", set_fields(**fields), timeout)
        return convert_reply(reply, Tokenized)
