"""The Engine over mlx-lm. Its methods import mlx at their first call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mlxwire_protocol.commands import EngineName
from mlxwire_protocol.results import ModelInfo

from ..engine import (
    CacheFigures,
    Engine,
    LoadOptions,
    MemoryFigures,
    MemoryLimits,
    MemoryUse,
    ProgressReport,
)
from ..prompts import (
    ChatInput,
    Classified,
    ClassifyPrompts,
    Inspected,
    Inspection,
    Prompt,
    SamplingParams,
    StepResult,
)
from ..requests.admission import check_known
from ..requests.failures import no_model

if TYPE_CHECKING:
    from .loading import LoadedModel
    from .models.paths import PathPolicy
    from .text.template_process import TemplateProcess


class MlxEngine(Engine):
    """One model on MLX's default device, and the sequences that it computes."""

    name: EngineName = "mlx"

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

    @property
    def model(self) -> ModelInfo | None:
        """Return the description of the loaded model; None without a model."""
        return self._loaded.info if self._loaded else None

    @property
    def warnings(self) -> list[str]:
        """Return what the last load could not do as asked."""
        return self._loaded.warnings if self._loaded else []

    @property
    def slots(self) -> int:
        """Return the number of sequences that may be computed at once."""
        return self._loaded.info.parallel_slots if self._loaded else 1

    def preload(self) -> None:
        """Import MLX and start the template process, so that `load` finds both ready."""
        self._templates.start()
        from .importing import preload

        preload()

    # -- the model -----------------------------------------------------------------------

    def load(self, options: LoadOptions, report: ProgressReport) -> ModelInfo:
        """Load a folder; the old model stays until the new one has passed its checks."""
        path = self._paths.model(options.path)
        adapter = self._paths.adapter(options.adapter_path) if options.adapter_path else None
        report("check", 0, 1)
        from .importing import import_or_explain

        import_or_explain()
        from . import loading
        from .compile_progress import CompileProgress
        from .mlx_patches.allocator import hold_freed_blocks
        from .text.prompts import settle_template

        hold_freed_blocks()
        with CompileProgress(report) as report_all:
            with self._paths.unchanged(path, adapter):
                loaded = loading.build(options, path, adapter, report_all)
            settle_template(loaded, self._templates)
            report_all("check", 1, 1)
            self.unload()
            loading.finish(loaded, options, report_all)
        self._loaded = loaded
        return loaded.info

    def unload(self) -> None:
        """Drop the model and return its memory to the system."""
        if self._loaded is None:
            return
        import gc

        import mlx.core as mx

        from . import memory
        from .mlx_patches.allocator import give_free_memory_back

        self._loaded = None
        gc.collect()
        mx.synchronize()
        mx.clear_cache()
        memory.forget_peaks()
        give_free_memory_back(now=True)

    # -- the prepare thread --------------------------------------------------------------

    def check_params(self, params: SamplingParams) -> None:
        """Refuse options that the model can't honour."""
        from .text import prompts

        prompts.check_params(params, self._ready())

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        """Tokenize a raw prompt."""
        from .text import prompts

        return prompts.text_prompt(text, params, field, self._ready())

    def chat_prompt(self, chat: ChatInput, params: SamplingParams) -> Prompt:
        """Render and tokenize a conversation."""
        from .text import prompts

        return prompts.chat_prompt(chat, params, self._ready(), self._templates.render)

    def classify_prompts(
        self, prompts: list[str], labels: list[str], *, logits: bool, params: SamplingParams
    ) -> ClassifyPrompts:
        """Tokenize prompts and labels."""
        from .text import prompts as texts

        return texts.classify_prompts(prompts, labels, logits, params, self._ready())

    def inspection(self, text: str, layers: list[int] | None, path: str) -> Inspection:
        """Tokenize a prompt to inspect, and check the path."""
        from .text import prompts

        self._paths.output(path)
        return prompts.inspection(text, layers, path, self._ready())

    def text_ids(self, text: str, *, special_tokens: bool) -> list[int]:
        """Return the token ids of a text."""
        tokenizer = self._ready().tokenizer
        return tokenizer.encode_prompt(text) if special_tokens else tokenizer.encode_plain(text)

    def chat_ids(self, chat: ChatInput) -> list[int]:
        """Return the token ids of a conversation."""
        from .text import prompts

        return prompts.encode_conversation(chat, self._ready(), self._templates.render)

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the text of each token by itself, as it reads within a text."""
        text_of = self._ready().tokenizer.text_of
        return [text_of(token_id) for token_id in ids]

    def text_of(self, ids: list[int]) -> str:
        """Decode token ids to a text, control tokens included."""
        loaded = self._ready()
        check_known(ids, "ids", loaded.info.vocab_size)
        return loaded.tokenizer.decode(ids)

    # -- the engine's thread -------------------------------------------------------------

    @property
    def decoding(self) -> bool:
        """Return True if a sequence is past its prefill."""
        return self._loaded is not None and self._loaded.runner.decoding

    def has_room(self, prompt: Prompt) -> bool:
        """Return True if memory allows one more sequence beside the running ones."""
        return self._ready().runner.has_room(prompt)

    def add(self, prompt: Prompt) -> None:
        """Add a sequence."""
        self._ready().runner.add(prompt)

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences; the prompt cache keeps what they computed."""
        if self._loaded is not None:
            self._loaded.runner.remove(prompts)

    def step(self) -> list[StepResult]:
        """Compute a decode step of all decoding sequences, and a slice of prefill."""
        return self._ready().runner.step()

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """Compute one slice of a group of prompts."""
        from .one_pass import scoring

        loaded = self._ready()
        tools = scoring.Tools(
            loaded.model, loaded.policy, loaded.tokenizer.text_of, loaded.chunk
        )
        return scoring.classify_slice(tools, prompts)

    def inspect(self, inspection: Inspection) -> Inspected | None:
        """Compute one layer of a prompt, or write the file."""
        from .one_pass import attention

        model, file = self._ready().model, self._paths.output(inspection.path)
        return attention.inspect_slice(model, inspection, file)

    # -- what is kept --------------------------------------------------------------------

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
        return len(prompt.ids) if self._ready().cache.holds(prompt.ids) else 0

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

    def close(self) -> None:
        """End the template process."""
        if "_templates" in vars(self):
            self._templates.close()

    def _ready(self) -> LoadedModel:
        if self._loaded is None:
            raise no_model()
        return self._loaded
