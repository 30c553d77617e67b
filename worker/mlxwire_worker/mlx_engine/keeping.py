"""The part of the engine that keeps things beside the model: prompt cache, adapters, memory."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from msgspec import structs

from mlxwire_protocol.results import AdapterInfo

from ..engine import CacheFigures, Engine, MemoryFigures, MemoryLimits, MemoryUse
from ..prompts import Prompt
from ..requests.failures import no_model
from ..training_site import TrainingSite

if TYPE_CHECKING:
    from .loading import LoadedModel
    from .models.paths import PathPolicy
    from .text.template_process import TemplateProcess


class KeepingEngine(Engine):
    """The loaded model, the folders that requests may name, and what is kept for later requests."""

    def __init__(
        self,
        *,
        model_roots: tuple[str, ...] = (),
        data_roots: tuple[str, ...] = (),
        allow_hub: bool = False,
    ) -> None:
        self._model_roots = model_roots
        self._data_roots = data_roots
        self._allow_hub = allow_hub
        self._loaded: LoadedModel | None = None

    @cached_property
    def _paths(self) -> PathPolicy:
        from .models.paths import PathPolicy

        return PathPolicy(self._model_roots, self._data_roots, allow_hub=self._allow_hub)

    @cached_property
    def _templates(self) -> TemplateProcess:
        from .text.template_process import TemplateProcess

        return TemplateProcess()

    def load_adapter(self, name: str, path: str) -> None:
        """Read and check an adapter, and put it beside the model."""
        from .adapters.loading import load_beside

        loaded = self._ready()
        load_beside(loaded, name, self._paths.adapter(path, field="path"))
        self._tell_adapters(loaded)

    def unload_adapter(self, name: str) -> None:
        """Take an adapter's name away, and drop what the prompt cache has of it."""
        loaded = self._ready()
        loaded.adapters.unload(name)
        self._tell_adapters(loaded)

    def adapters(self) -> list[AdapterInfo]:
        """Return the adapters that requests may name."""
        return self._ready().adapters.infos

    @property
    def training_site(self) -> TrainingSite:
        """Return the program that trains, with the roots of data and of models."""
        from ..process.child.program import tied_command

        loadable = partial(self._paths.adapter, field="load_as")
        command = tied_command("mlxwire_worker.training")
        return TrainingSite(command, self._paths.data_roots, loadable)

    @staticmethod
    def _tell_adapters(loaded: LoadedModel) -> None:
        loaded.info = structs.replace(loaded.info, adapters=loaded.adapters.infos)

    def cache_figures(self) -> CacheFigures:
        """Describe the prompt cache."""
        return self._ready().cache.figures()

    def clear_cache(self) -> int:
        """Drop the prompt cache."""
        return self._ready().cache.clear()

    def save_cache(self, path: str) -> int:
        """Write the prompt cache to a file below the data roots."""
        from .cache import cache_files

        loaded = self._ready()
        return cache_files.save(self._paths.output(path), loaded.cache, loaded.identity())

    def load_cache(self, path: str) -> int:
        """Read a prompt cache of this model from a file below the data roots."""
        from .cache import cache_files

        loaded = self._ready()
        fitting = (loaded.cache, loaded.policy, loaded.identity(), loaded.info.vocab_size)
        return cache_files.load(self._paths.output(path), *fitting)

    def warmed_tokens(self, prompt: Prompt) -> int:
        """Return the number of an ended sequence's tokens that the prompt cache holds."""
        from .sequences.rows import keys_of

        held = self._ready().cache.holds(keys_of(prompt, prompt.ids))
        return len(prompt.ids) if held else 0

    def set_memory(self, limits: MemoryLimits, *, clear: bool) -> MemoryFigures:
        """Set limits in MLX and in the model's guard, and describe the memory."""
        from .importing import import_or_explain

        import_or_explain()
        from . import memory

        return memory.set_memory(limits, self._loaded, clear=clear)

    def memory(self) -> MemoryUse:
        """Return the bytes that MLX has in use now, and had in use at the peaks."""
        if self._loaded is None:
            return MemoryUse()
        from . import memory

        return memory.in_use()

    def restart_peak(self) -> int:
        """Return MLX's peak since the last call, and reset it."""
        if self._loaded is None:
            return 0
        from . import memory

        return memory.restart_peak()

    def _ready(self) -> LoadedModel:
        if self._loaded is None:
            raise no_model()
        return self._loaded
