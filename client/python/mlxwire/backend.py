"""The registry of backends: a host loads a model with a backend by its name.

The backend ``"mlx_lm"`` runs each model in a worker of this package. An outside engine implements
`Backend`, and is found after `register`, or by an entry point of its package in the group
``mlxwire.backends``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import CacheResult, ModelInfo

from .errors import SpawnFailed
from .model import Model
from .options import ChatOptions, GenerateOptions, Messages, OnProgress, Path, WorkerOptions
from .process.find_worker import find_worker
from .requests.route import ModelRoute
from .results import BatchResult, ClassifyResult, Done, OnToken, Token
from .worker import Worker

ENTRY_POINT_GROUP = "mlxwire.backends"
DEFAULT_BACKEND = "mlx_lm"

T_co = TypeVar("T_co", covariant=True)


class BackendStream(Protocol[T_co]):
    """The stream of one request of a backend's model; `ReplyStream` is one."""

    @property
    def done(self) -> Done: ...
    def __aiter__(self) -> AsyncIterator[T_co]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def aclose(self) -> None: ...


class BackendTokenStream(BackendStream[Token], Protocol):
    """The stream of `BackendModel.generate` and `BackendModel.chat`; `TokenStream` is one."""

    async def text(self) -> str: ...


class BackendBatchStream(BackendStream[BatchResult], Protocol):
    """The stream of `BackendModel.batch`; `BatchStream` is one."""

    async def results(self) -> Sequence[BatchResult]: ...


class BackendCache(Protocol):
    """The prompt cache of a backend's model; `PromptCache` is one.

    A backend without such a cache raises UnsupportedCapability in each method.
    """

    async def stats(self) -> CacheResult: ...
    async def clear(self) -> CacheResult: ...
    async def warm(
        self, prompt: str | None = None, *, messages: Messages | None = None
    ) -> CacheResult: ...
    async def save(self, path: Path) -> CacheResult: ...
    async def load(self, path: Path) -> CacheResult: ...


class BackendModel(Protocol):
    """A loaded model of any backend, such as `Model`.

    An engine may ignore ``on_progress``, and raises InvalidParams for an option that it lacks.
    """

    @property
    def metrics(self) -> RequestMetrics: ...
    @property
    def cache(self) -> BackendCache: ...
    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BackendTokenStream: ...
    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> BackendTokenStream: ...
    def batch(
        self,
        prompts: Sequence[str],
        *,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BackendBatchStream: ...
    def classify(
        self,
        prompts: Sequence[str],
        *,
        logits: bool = False,
        labels: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
    ) -> Awaitable[list[ClassifyResult]]: ...
    async def info(self) -> ModelInfo: ...
    async def close(self) -> None: ...


class Backend(Protocol):
    """Loads models into one engine. Closing a model frees everything that it took."""

    @property
    def name(self) -> str: ...
    def available(self) -> bool: ...
    async def load_model(self, path: Path, **options: Any) -> BackendModel: ...


class WorkerBackend:
    """The backend ``"mlx_lm"``: one worker process for each model, ended by the model's `close`.

    ``load_model`` takes the options of `Worker.load`, and as ``worker`` those of `Worker`.
    """

    name = DEFAULT_BACKEND

    def available(self) -> bool:
        """Return True if a worker's program is found."""
        try:
            find_worker()
        except SpawnFailed:
            return False
        return True

    async def load_model(
        self, path: Path, *, worker: WorkerOptions | None = None, **options: Any
    ) -> Model:
        """Start a worker and load a model. Raises: as `Worker.start` and `Worker.load`."""
        started = await _OneModelWorker(**(worker or {})).start()
        try:
            return await started.load(path, **options)
        except BaseException:
            await started.close()
            raise


class _OneModelWorker(Worker):
    """A worker that ends when its model is closed."""

    async def _unload(self, _route: ModelRoute, /) -> None:
        await self.close()


mlx_lm_backend = WorkerBackend()
_registered: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Make a backend known by its name, in place of an earlier one of that name."""
    _registered[backend.name] = backend


def get(name: str) -> Backend:
    """Return the backend of that name.

    Raises: LookupError, which lists the known names.
    """
    if name in _registered:
        return _registered[name]
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        backend: Backend = entry.load()
        return backend
    raise LookupError(f"no backend is called {name!r}; known are {', '.join(list_backends())}")


def list_backends() -> list[str]:
    """Return the names of all backends, registered or installed."""
    installed = (entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))
    return sorted({*_registered, *installed})


def default() -> Backend:
    """Return ``mlx_lm`` if it is available, otherwise another backend that is.

    Raises: LookupError if no backend is available.
    """
    for name in sorted(list_backends(), key=lambda name: name != DEFAULT_BACKEND):
        backend = get(name)
        if backend.available():
            return backend
    raise LookupError(
        "no backend can run on this machine; install one: pip install 'mlxwire[mlx]'"
    )


async def load_model(
    path: Path, backend: str = DEFAULT_BACKEND, **load_options: Any
) -> BackendModel:
    """Load a model with the backend of that name; close the model when done.

    Raises: LookupError for an unknown name, and the errors of the backend.
    """
    return await get(backend).load_model(path, **load_options)


register(mlx_lm_backend)
