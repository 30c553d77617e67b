"""The part of the engine for vectors of texts, and for encoders, which compute nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlxwire_protocol import WireError
from mlxwire_protocol.results import ModelInfo

from ..engine import MemoryFigures, MemoryLimits, MemoryUse
from ..passes import EmbedOptions, TextInput, Texts
from ..requests.failures import no_model
from .keeping import KeepingEngine

if TYPE_CHECKING:
    from .encoders.loading import LoadedEncoder
    from .loading import LoadedModel
    from .text.tokenizer import Tokenizer


class VectorEngine(KeepingEngine):
    """The loaded encoder, if the loaded model is one, and vectors of either kind of model."""

    _encoder: LoadedEncoder | None = None

    @property
    def model(self) -> ModelInfo | None:
        """Return the description of the loaded model; None without a model."""
        held = self._loaded or self._encoder
        return held.info if held else None

    @property
    def warnings(self) -> list[str]:
        """Return what the last load could not do as asked."""
        held = self._loaded or self._encoder
        return held.warnings if held else []

    def check_command(self, name: str) -> None:
        """Refuse a command that the loaded model can't do, by its name."""
        held = self._loaded or self._encoder
        if held is not None and name in held.missing:
            raise _missing(name, held.missing[name])

    def embed_texts(
        self, texts: list[TextInput], options: EmbedOptions, adapter: str | None
    ) -> Texts:
        """Tokenize and check texts to embed."""
        if self._encoder is not None:
            _refuse_adapter(adapter)
            return self._encoder.embedder.texts(texts, options, None)
        loaded = self._ready()
        use = None if adapter is None else loaded.adapters.named(adapter)
        return loaded.embedder.texts(texts, options, use)

    def embed(self, texts: Texts) -> list[tuple[int, list[float]]]:
        """Compute one slice of a group of texts."""
        from .one_pass.embedding.slices import embed_slice

        held = self._encoder or self._ready()
        return embed_slice(held.tools, texts)

    def rerank_pairs(
        self, query: str, documents: list[str], instruction: str | None, adapter: str | None
    ) -> Texts:
        """Tokenize and check a query with each document, for a classification head."""
        if self._encoder is None:
            return super().rerank_pairs(query, documents, instruction, adapter)
        _refuse_adapter(adapter)
        if self._encoder.ranker is None:
            raise _missing("rerank", HAS_NO_HEAD)
        return self._encoder.ranker.pairs(query, documents, instruction)

    def rerank(self, pairs: Texts) -> list[tuple[int, float]]:
        """Compute one slice of pairs."""
        if self._encoder is None or self._encoder.ranker is None:
            return super().rerank(pairs)
        return self._encoder.ranker.score(pairs)

    def set_memory(self, limits: MemoryLimits, *, clear: bool) -> MemoryFigures:
        """Set limits in MLX and in the model's guard, and describe the memory."""
        for name in ("memory_limit", "prompt_cache_limit"):
            if self._encoder is not None and getattr(limits, name) is not None:
                raise _no_sequences(name)
        return super().set_memory(limits, clear=clear)

    def memory(self) -> MemoryUse:
        """Return the bytes that MLX has in use now, and had in use at the peaks."""
        if self._encoder is None:
            return super().memory()
        from . import memory

        return memory.in_use()

    def restart_peak(self) -> int:
        """Return MLX's peak since the last call, and reset it."""
        if self._encoder is None:
            return super().restart_peak()
        from . import memory

        return memory.restart_peak()

    @property
    def _tokenizer(self) -> Tokenizer:
        return (self._encoder or self._ready()).tokenizer

    def _ready(self) -> LoadedModel:
        if self._loaded is None:
            raise no_model() if self._encoder is None else _missing("generate", IS_ENCODER)
        return self._loaded


IS_ENCODER = "is an encoder, which generates nothing"
HAS_NO_HEAD = "is an encoder without a classification head of one label"
IS_HEADLESS = "has no head in its folder, so that it gives vectors and generates nothing"
_OF_LOGITS = ("generate", "chat", "batch", "classify", "score", "train", "evaluate")
NOT_OF_HEADLESS = (*_OF_LOGITS, "rerank")
"""The commands that need logits of a next token."""
NOT_OF_ENCODERS = (*_OF_LOGITS, "inspect", "cache", "adapter", "render")
"""The commands that need a causal model: its logits, its caches, or its adapters."""


def _missing(name: str, why: str) -> WireError:
    return WireError(
        "unsupported_capability",
        f"the loaded model {why}, so it can't `{name}`; load another model for that (`info` lists the "
        "capabilities of the model)",
        data={"missing": [name]},
    )


def _refuse_adapter(adapter: str | None) -> None:
    if adapter is not None:
        raise _missing("adapter", IS_ENCODER)


def _no_sequences(name: str) -> WireError:
    return WireError(
        "invalid_params",
        f"`{name}` limits sequences and their caches, and the loaded model is an encoder, which has "
        f"none; leave `{name}` out",
        data={"field": name},
    )
