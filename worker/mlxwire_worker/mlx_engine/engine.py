"""The Engine over mlx-lm. Its methods import mlx at their first call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from mlxwire_protocol.commands import EngineName
from mlxwire_protocol.results import ModelInfo

from ..engine import (
    LoadOptions,
    ProgressReport,
)
from ..passes import Rendered
from ..prompts import ChatInput, Prompt, SamplingParams, StepResult
from ..requests.admission import check_known
from .discovery.finding_engine import FindingEngine
from .fitting.fitting_engine import FittingEngine
from .one_pass.engine_part import OnePassEngine
from .vectors import VectorEngine

if TYPE_CHECKING:
    from .conversation.known_boundaries import KnownBoundaries


class MlxEngine(VectorEngine, OnePassEngine, FindingEngine, FittingEngine):
    """One model on MLX's default device, and the sequences that it computes."""

    name: EngineName = "mlx"

    @cached_property
    def _boundaries(self) -> KnownBoundaries:
        from .conversation.known_boundaries import CHAT_SECONDS, KnownBoundaries

        return KnownBoundaries(partial(self._templates.boundaries, seconds=CHAT_SECONDS))

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
        from .conversation.settling import settle_template
        from .encoders import loading as encoders
        from .mlx_patches.allocator import hold_freed_blocks

        hold_freed_blocks()
        with CompileProgress(report) as report_all:
            if encoders.is_encoder_folder(path):
                with self._paths.unchanged(path, adapter):
                    encoder = encoders.build(options, path, adapter, report_all)
                report_all("check", 1, 1)
                self.unload()
                encoders.finish(encoder, options, report_all)
                self._encoder = encoder
                return encoder.info
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
        if self._loaded is None and self._encoder is None:
            return
        import gc

        import mlx.core as mx

        from . import memory
        from .mlx_patches.allocator import give_free_memory_back

        self._loaded = self._encoder = None
        vars(self).pop("_boundaries", None)  # of chats with that model
        gc.collect()
        mx.synchronize()
        mx.clear_cache()
        memory.forget_peaks()
        give_free_memory_back(now=True)

    # -- the prepare thread --------------------------------------------------------------

    def check_params(self, params: SamplingParams) -> None:
        """Refuse options that the model can't honour."""
        from . import preparing

        preparing.check_params(params, self._ready())

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        """Tokenize a raw prompt."""
        from . import preparing

        return preparing.text_prompt(text, params, field, self._ready())

    def chat_prompt(self, chat: ChatInput, params: SamplingParams) -> Prompt:
        """Render and tokenize a conversation."""
        from . import preparing

        return preparing.chat_prompt(
            chat, params, self._ready(), self._templates.render, self._boundaries
        )

    def rendered(self, chat: ChatInput) -> Rendered:
        """Render a conversation, and find the tokens of each message."""
        from . import preparing

        templates = self._templates
        return preparing.rendered_chat(
            chat, self._ready(), templates.render, templates.boundaries
        )

    def text_ids(self, text: str, *, special_tokens: bool) -> list[int]:
        """Return the token ids of a text."""
        tokenizer = self._tokenizer
        return tokenizer.encode_prompt(text) if special_tokens else tokenizer.encode_plain(text)

    def chat_ids(self, chat: ChatInput) -> list[int]:
        """Return the token ids of a conversation."""
        from . import preparing

        return preparing.chat_ids(chat, self._ready(), self._templates.render)

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the text of each token by itself, as it reads within a text."""
        text_of = self._tokenizer.text_of
        return [text_of(token_id) for token_id in ids]

    def text_of(self, ids: list[int]) -> str:
        """Decode token ids to a text, control tokens included."""
        held = self._encoder or self._ready()
        check_known(ids, "ids", held.info.vocab_size)
        return held.tokenizer.decode(ids)

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
        loaded = self._ready()
        loaded.adapters.sweep()
        loaded.runner.add(prompt)

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences; the prompt cache keeps what they computed."""
        if self._loaded is not None:
            self._loaded.runner.remove(prompts)

    def step(self) -> list[StepResult]:
        """Compute a decode step of all decoding sequences, and a slice of prefill."""
        return self._ready().runner.step()

    def close(self) -> None:
        """End the template process."""
        if "_templates" in vars(self):
            self._templates.close()
