"""The same client for programs without an event loop: `Worker`, `Model` and iterators that block.

Each worker has one background thread with a loop of its own, on which the asyncio client runs;
`close` ends both. Ctrl-C while a call blocks cancels that call in the worker.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

from mlxwire_protocol.replies import (
    CancelResult,
    HelloResult,
    LoadResult,
    ModelInfo,
    RequestMetrics,
    WorkerMetrics,
)

from . import model as aio_model
from . import stream as aio_stream
from . import worker as aio_worker
from .errors import ShuttingDown
from .loop_thread import LoopThread
from .options import (
    ChatOptions,
    GenerateOptions,
    LoadOptions,
    Messages,
    OnProgress,
    Path,
    WorkerOptions,
)
from .results import ClassifyResult, Done, Token

__all__ = ["Model", "TokenStream", "Worker"]


class TokenStream:
    """Iterate it for its `Token`s; use it in a ``with``, so that leaving early cancels it."""

    def __init__(self, thread: LoopThread, stream: aio_stream.TokenStream) -> None:
        self._thread = thread
        self._stream = stream
        self._taken: deque[Token] = deque()

    @property
    def id(self) -> str | None:
        """As `mlxwire.TokenStream.id`."""
        return self._stream.id

    @property
    def done(self) -> Done:
        """As `mlxwire.TokenStream.done`."""
        return self._stream.done

    def text(self) -> str:
        """All of its plain text at once; other channels are left out."""
        with self:
            return "".join([token.text for token in self if token.channel is None])

    def close(self) -> None:
        """Cancel what is left. Raises: DrainTimeout where the worker does not confirm."""
        self._taken.clear()
        with contextlib.suppress(ShuttingDown):
            self._thread.call(self._stream.aclose())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Token:
        if not self._taken:
            # All that is there at once: a call into the other thread for each token is dear.
            try:
                self._taken.extend(self._thread.call(self._stream.take_available()))
            except BaseException:
                # Ctrl-C may come when the call is done already, and its tokens are lost.
                self._thread.post(self._stream.abandon)
                raise
            if not self._taken:
                raise StopIteration
        return self._taken.popleft()

    def __enter__(self) -> Self:
        self._thread.call(self._stream.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken.clear()
        if error is None:
            self.close()
        else:
            self._thread.post(self._stream.abandon)


class Model:
    """As `mlxwire.Model`, blocking."""

    def __init__(self, thread: LoopThread, model: aio_model.Model) -> None:
        self._thread = thread
        self._model = model

    @property
    def loaded(self) -> LoadResult:
        """What `load` said of it."""
        return self._model.loaded

    @property
    def metrics(self) -> RequestMetrics:
        """Figures of the last operation that ended."""
        return self._model.metrics

    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream:
        """Continue a raw prompt. ``on_progress`` is called on the background thread."""
        stream = self._model.generate(
            prompt, timeout=timeout, on_progress=on_progress, **options
        )
        return TokenStream(self._thread, stream)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream:
        """Answer a conversation, or one user turn given as a string."""
        stream = self._model.chat(messages, timeout=timeout, on_progress=on_progress, **options)
        return TokenStream(self._thread, stream)

    def classify(
        self,
        prompts: Sequence[str],
        *,
        logits: bool = False,
        labels: Sequence[str] | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[ClassifyResult]:
        """One forward pass for each prompt."""
        return self._thread.call(
            self._model.classify(
                prompts, logits=logits, labels=labels, timeout=timeout, on_progress=on_progress
            )
        )

    def info(self, *, timeout: float | None = None) -> ModelInfo:
        """Describe the model as it is now."""
        return self._thread.call(self._model.info(timeout=timeout))

    def close(self) -> None:
        """Unload it. Harmless when it is gone already."""
        with contextlib.suppress(ShuttingDown):
            self._thread.call(self._model.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Worker:
    """As `mlxwire.Worker`, blocking, with the same arguments: ``with sync.Worker() as w``.

    Its callbacks run on the background thread. It may be used from several threads.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        self._worker = aio_worker.Worker(command, **options)
        self._thread: LoopThread | None = None

    @property
    def hello(self) -> HelloResult:
        """What it said in the handshake."""
        return self._worker.hello

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._worker.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it has not."""
        return self._worker.returncode

    @property
    def stderr(self) -> str:
        """The last that it wrote to stderr."""
        return self._worker.stderr

    @property
    def stray_lines(self) -> list[bytes]:
        """Lines on its stdout before the handshake that are no messages."""
        return self._worker.stray_lines

    def start(self) -> Self:
        """Spawn it and shake hands. Raises: as `mlxwire.Worker.start`."""
        if self._thread is not None:
            raise RuntimeError("this worker was started before; make a new Worker for another")
        self._thread = LoopThread()
        try:
            self._thread.call(self._worker.start())
        except BaseException:
            self.close()
            raise
        return self

    def load(
        self,
        path: Path,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[LoadOptions],
    ) -> Model:
        """Load a model folder; it replaces the one loaded before."""
        thread = self._started()
        load = self._worker.load(path, timeout=timeout, on_progress=on_progress, **options)
        return Model(thread, thread.call(load))

    def metrics(self, *, timeout: float | None = None) -> WorkerMetrics:
        """Sums over the worker's life, and its state now."""
        return self._started().call(self._worker.metrics(timeout=timeout))

    def cancel(
        self, request_id: str | None = None, *, timeout: float | None = None
    ) -> CancelResult:
        """Cancel one request by its stream's ``id``, or all in flight."""
        return self._started().call(self._worker.cancel(request_id, timeout=timeout))

    def close(self) -> None:
        """End the worker and the thread. Safe to call again."""
        thread = self._thread
        if thread is None:
            return
        try:
            with contextlib.suppress(ShuttingDown):  # closed before
                thread.call(self._worker.close())
        finally:
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("the worker has not been started: `with Worker() as w`")
        return self._thread
