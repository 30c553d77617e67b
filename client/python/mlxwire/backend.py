"""Engines by name: a host asks for a model and says which backend shall run it.

This worker is the backend ``"mlx_lm"``. Others come by `register`, or from any installed
package with an entry point in the group ``mlxwire.backends``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, Unpack

from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import ModelInfo

from .batch import BatchStream
from .cache import PromptCache
from .connection.route import ModelRoute
from .errors import SpawnFailed
from .model import Model
from .options import ChatOptions, GenerateOptions, Messages, OnProgress, Path, WorkerOptions
from .process.find_worker import find_worker
from .results import ClassifyResult, OnToken
from .stream import TokenStream
from .worker import Worker

ENTRY_POINT_GROUP = "mlxwire.backends"
DEFAULT_BACKEND = "mlx_lm"


class BackendModel(Protocol):
    """What a backend's model can do, whatever runs it; `Model` is one."""

    @property
    def metrics(self) -> RequestMetrics: ...
    @property
    def cache(self) -> PromptCache: ...
    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> TokenStream: ...
    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ChatOptions],
    ) -> TokenStream: ...
    def batch(
        self,
        prompts: Sequence[str],
        *,
        on_token: OnToken | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> BatchStream: ...
    async def classify(
        self,
        prompts: Sequence[str],
        *,
        logits: bool = False,
        labels: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
    ) -> list[ClassifyResult]: ...
    async def info(self) -> ModelInfo: ...
    async def close(self) -> None: ...


class Backend(Protocol):
    """Something that loads models. Its model's ``close`` gives back all that it took."""

    @property
    def name(self) -> str: ...
    def available(self) -> bool: ...
    async def load_model(self, path: Path, **options: Any) -> BackendModel: ...


class WorkerBackend:
    """One worker process for each model; the model's `close` ends it.

    ``load_model`` takes the options of `Worker.load`, and in ``worker`` those of `Worker`.
    """

    name = DEFAULT_BACKEND

    def available(self) -> bool:
        """Whether there is a worker to start."""
        try:
            find_worker()
        except SpawnFailed:
            return False
        return True

    async def load_model(
        self, path: Path, *, worker: WorkerOptions | None = None, **options: Any
    ) -> Model:
        """Start a worker and load. Raises: as `Worker.start` and `Worker.load`."""
        started = await _OneModelWorker(**(worker or {})).start()
        try:
            return await started.load(path, **options)
        except BaseException:
            await started.close()
            raise


class _OneModelWorker(Worker):
    """A worker that is its model's alone, and ends with it."""

    async def _unload(self, _model: ModelRoute, /) -> None:
        await self.close()


mlx_lm_backend = WorkerBackend()
_registered: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Make a backend known by its name; a later one of the same name replaces it."""
    _registered[backend.name] = backend


def get(name: str) -> Backend:
    """The backend of that name.

    Raises: LookupError naming those that there are.
    """
    if name in _registered:
        return _registered[name]
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        backend: Backend = entry.load()
        return backend
    raise LookupError(f"no backend is called {name!r}; known are {', '.join(list_backends())}")


def list_backends() -> list[str]:
    """The names of all backends, registered or installed."""
    installed = (entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))
    return sorted({*_registered, *installed})


def default() -> Backend:
    """``mlx_lm`` where it is available, otherwise any that is.

    Raises: LookupError where none is.
    """
    for name in sorted(list_backends(), key=lambda name: name != DEFAULT_BACKEND):
        backend = get(name)
        if backend.available():
            return backend
    raise LookupError("no backend can run here; install one: pip install 'mlxwire[mlx]'")


async def load_model(
    path: Path, backend: str = DEFAULT_BACKEND, **load_options: Any
) -> BackendModel:
    """Load a model with a backend, by name; close the model when done.

    Raises: LookupError where the name is not known, and what the backend raises.
    """
    return await get(backend).load_model(path, **load_options)


register(mlx_lm_backend)
