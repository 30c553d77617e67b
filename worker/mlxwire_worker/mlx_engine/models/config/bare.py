"""Reads checkpoints that hold a model's trunk alone, as embedding models are published.

Transformers saves a trunk (`Qwen3Model`) without the prefix `model.` of its names, and without the
head. mlx-lm's modules expect both, so the prefix is added, and the embeddings stand in for the head.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

_PREFIX = "model."
_EMBEDDINGS = "embed_tokens."
_HEAD = "lm_head."
_TIED = "tie_word_embeddings"


class BareTrunk:
    """The form of one checkpoint; ``headless`` is known once `complete` has seen the settings."""

    def __init__(self, path: Path, config: Mapping[str, Any], tensors: Collection[str]) -> None:
        names = config.get("architectures")
        of_trunk = isinstance(names, list) and any(
            str(name).endswith("Model") for name in names
        )
        self._is_for_vectors = of_trunk or (path / "modules.json").exists()
        self._has_head = any(name.startswith(_HEAD) for name in tensors)
        self._lacks_prefix = any(name.startswith(_EMBEDDINGS) for name in tensors) and not any(
            name.startswith(_PREFIX) for name in tensors
        )
        self.headless = False

    @property
    def may_lack_head(self) -> bool:
        """Return True if the model gives vectors and its files have no head.

        Its embeddings may still serve as one.
        """
        return self._is_for_vectors and not self._has_head

    def complete(self, settings: dict[str, Any], arguments_class: Any) -> None:
        """Tie the head to the embeddings in ``settings``, if the checkpoint has none."""
        told = inspect.signature(arguments_class).parameters.get(_TIED)
        if told is None or not self.may_lack_head:
            return
        self.headless = not settings.get(_TIED, told.default)
        settings[_TIED] = True

    def rename(self, model: Any) -> None:
        """Let a model add the prefix to the names of the weights that it is given."""
        if not self._lacks_prefix:
            return
        sanitize = getattr(model, "sanitize", lambda weights: weights)

        def prefixed(weights: dict[str, Any]) -> Any:
            return sanitize({_with_prefix(name): each for name, each in weights.items()})

        object.__setattr__(model, "sanitize", prefixed)


def _with_prefix(name: str) -> str:
    return name if name.startswith(_HEAD) else _PREFIX + name
