"""Reads what an encoder's folder says of the model, before its modules are built. Imports no MLX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..models.model_files import unsupported
from ..one_pass.embedding.settings import EmbeddingSettings, read_settings
from ..vectors import NOT_OF_ENCODERS
from .families import EncoderShape, is_unused, module_names, read_shape
from .head_functions import read_activation


class EncoderFolder(NamedTuple):
    """An encoder's shape, the form of its vectors, and the function of its head's logit if it ranks."""

    shape: EncoderShape
    settings: EmbeddingSettings
    activation: str | None

    @property
    def context(self) -> int:
        """Return the most tokens of a text, unless a load asks for more."""
        return min(self.settings.max_tokens or self.shape.positions, self.shape.positions)

    @property
    def capabilities(self) -> dict[str, Any]:
        """Return the capabilities that `info` tells."""
        return {
            "embed": True,
            "rerank": self.activation is not None,
            **dict.fromkeys(NOT_OF_ENCODERS, False),
        }

    def used(self, names: Iterable[str]) -> list[str]:
        """Return the names of those tensors that the encoder computes with."""
        prefix = f"{self.shape.family.prefix}."
        modules = {theirs for _, theirs in module_names(self.shape)}
        plain = {name: name.removeprefix(prefix) for name in names}
        return [
            name
            for name, own in plain.items()
            if own.rpartition(".")[0] in modules or not is_unused(own)
        ]


def read_encoder(path: Path, config: dict[str, Any]) -> EncoderFolder:
    """Read the folder of an encoder, whose config.json is ``config``.

    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    shape, settings = read_shape(config), read_settings(path, config)
    if settings.problem:
        raise unsupported(
            "embedding",
            f"modules.json describes vectors that the worker can't compute: {settings.problem}. Use "
            "another model, or remove modules.json and give `pooling` to `embed`",
            file="modules.json",
        )
    activation = read_activation(path, config) if shape.labels == 1 else None
    return EncoderFolder(shape, settings, activation)
